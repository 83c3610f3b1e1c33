# Ways into Modelferry. `make help` lists them; each target does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLUSTER := PYTHONPATH=tests $(BIN)/python -m cluster
NAME ?= dev
NODES ?= 2

.PHONY: help setup check generate lock demo test unit network e2e cluster cluster-down cluster-demo image bench kind clean

help: ## list the ways in
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

generate: setup ## write generated files anew
	$(BIN)/python charts/generate.py

lock: setup ## write the lock files anew from pyproject.toml (needs uv)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

demo: setup ## the main job without a cluster: a model of 1 GiB from a local TLS server, checked
	@$(BIN)/python examples/demo/demo.py

test: setup ## everything that proves the project: unit, network, and as root on Linux the real cluster
	@$(BIN)/python tests/run.py

unit: setup ## the pure tests
	$(BIN)/python -m pytest -m "not network and not e2e"

network: setup ## the tests against real servers on loopback
	$(BIN)/python -m pytest -m network

e2e: setup ## the tests on a real cluster (raised here as root, or the one in KUBECONFIG)
	$(BIN)/python -m pytest -m e2e

cluster: setup ## raise a real Kubernetes here (root, Linux) with the image, and keep it; NAME=dev NODES=2
	@$(CLUSTER) up --name $(NAME) --nodes $(NODES) --project-image --keep

cluster-down: setup ## take it down again
	@$(CLUSTER) down --name $(NAME)

cluster-demo: setup ## the whole way on a cluster: chart, example, progress, consumer
	@PYTHONPATH=tests $(BIN)/python -m e2e.demo

image: setup ## build the image from the Dockerfile (root, without Docker)
	@$(CLUSTER) build image

bench: setup ## the benchmark against wget, curl, axel, aria2c and hf_transfer (root, an hour); ARGS=--quick for a look
	@$(BIN)/python -m benchmarks $(ARGS)

kind: ## for people with Docker: a kind cluster of three nodes with the image and the chart
	docker build -t modelferry:dev .
	kind create cluster --name modelferry --config kind-config.yaml
	kind load docker-image modelferry:dev --name modelferry
	helm upgrade --install modelferry charts/modelferry --namespace modelferry-system --create-namespace \
	  --set image.repository=modelferry --set image.tag=dev --wait

clean: ## remove what test clusters left behind, and the virtual environment
	-@[ ! -x $(BIN)/python ] || $(CLUSTER) clean
	rm -rf $(VENV)
