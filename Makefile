# `make help` lists the targets; each target does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLUSTER := PYTHONPATH=tests $(BIN)/python -m cluster
NAME ?= dev
NODES ?= 2

.PHONY: help setup check generate lock demo test unit network e2e cluster cluster-down cluster-demo image bench kind clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready ## .venv with the locked dependencies and .venv/bin/modelferry
$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) tests/setup_venv.py $(VENV) requirements-dev.lock

check: setup ## format, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy operator/modelferry tests charts/generate.py examples benchmarks
	$(BIN)/lint-imports
	$(BIN)/python charts/generate.py --check

generate: setup ## update the generated files
	$(BIN)/python charts/generate.py

lock: setup ## update the lock files from pyproject.toml (needs uv)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

demo: setup ## download a model of 1 GiB from a local TLS server, without a cluster
	@$(BIN)/python examples/demo/demo.py

test: setup ## all tests: unit, network, and as root on Linux end-to-end
	@$(BIN)/python tests/run.py

unit: setup ## the unit tests
	$(BIN)/python -m pytest -m "not network and not e2e"

network: setup ## the tests with real servers on loopback
	$(BIN)/python -m pytest -m network

e2e: setup ## the end-to-end tests on a test cluster (as root), or on the cluster in KUBECONFIG
	$(BIN)/python -m pytest -m e2e

cluster: setup ## create a Kubernetes cluster on this machine (root, Linux) with the image; NAME=dev NODES=2
	@$(CLUSTER) up --name $(NAME) --nodes $(NODES) --project-image --keep

cluster-down: setup ## delete it; NAME=dev
	@$(CLUSTER) down --name $(NAME)

cluster-demo: setup ## demo on a test cluster: chart, example, progress, consumer
	@PYTHONPATH=tests $(BIN)/python -m e2e.demo

image: setup ## build the image from the Dockerfile (root, without Docker)
	@$(CLUSTER) build image

bench: setup ## benchmarks of Modelferry, wget, curl, axel, aria2c and hf_transfer (root, an hour); ARGS=--quick
	@$(BIN)/python -m benchmarks $(ARGS)

kind: ## with Docker: create a kind cluster of three nodes with the image and the chart
	docker build -t modelferry:dev .
	kind create cluster --name modelferry --config kind-config.yaml
	kind load docker-image modelferry:dev --name modelferry
	helm upgrade --install modelferry charts/modelferry --namespace modelferry-system --create-namespace \
	  --set image.repository=modelferry --set image.tag=dev --wait

clean: ## delete abandoned test clusters and the virtual environment
	-@[ ! -x $(BIN)/python ] || $(CLUSTER) clean
	rm -rf $(VENV)
