"""The chart is uninstalled while there are artifacts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import ClusterError
from cluster.shell import run
from e2e.conftest import install, namespace
from e2e.namespace_client import SYSTEM, NamespaceClient, Object, artifact
from e2e.platform import Platform
from modelferry.resource import names
from origin.certs import Leaf
from origin.nginx import Nginx


@pytest.fixture(scope="module")
def alone(installed: Platform, values: dict[str, Any]) -> Iterator[Platform]:
    """The cluster without the artifacts of other tests; the operator is installed again at the end."""
    with namespace(installed) as ns:
        listed = ["get", "ma", "--all-namespaces", "-o", "name"]
        ns.wait("the artifacts of other tests to be gone", lambda: not installed.kubectl(*listed).strip(), 120)
    yield installed
    install(installed, values)


@pytest.fixture
def source(alone: Platform, leaf: Leaf, tmp_path: Path) -> Iterator[list[Object]]:
    """`source.http.files` with one small file."""
    (tmp_path / "a.bin").write_bytes(b"model" * 1000)
    with Nginx(tmp_path, leaf=leaf, host=alone.host_address) as nginx:
        yield [{"path": "a.bin", "url": nginx.url("a.bin")}]


def uninstall(platform: Platform, *options: str) -> str:
    """helm uninstall."""
    return platform.helm("uninstall", "modelferry", "--namespace", SYSTEM, "--timeout", "90s", *options)


def roll_back(platform: Platform) -> None:
    """What Helm needs after a hook has refused an uninstallation, before the release can be upgraded again."""
    history = platform.helm("history", "modelferry", "--namespace", SYSTEM, "--output", "json")
    revision = str(json.loads(history)[-1]["revision"])
    platform.helm("rollback", "modelferry", revision, "--namespace", SYSTEM)


def clean_up(platform: Platform, *options: str) -> list[str]:
    """The lines that `modelferry cleanup` prints, as an administrator runs it."""
    _, environment = platform.kubectl_argv()
    command = Path(sys.executable).with_name("modelferry")
    return run([command, "cleanup", *options], timeout=60, env=environment).splitlines()


def on_disk(platform: Platform, ns: NamespaceClient) -> list[str]:
    """The nodes with files of the namespace's artifacts."""
    listings = {node.name: node.exec(["find", "/var/lib/modelferry", "-path", f"*{ns.namespace}*"])
                for node in platform.nodes.nodes}  # fmt: skip
    return [name for name, listing in listings.items() if listing]


def test_an_uninstallation_is_refused_while_there_are_artifacts_and_cleanup_works_without_the_operator(
    alone: Platform, ns: NamespaceClient, source: list[Object], values: dict[str, Any]
) -> None:
    nodes = alone.node_names
    ns.apply(artifact("stays", source))
    ns.wait_ready("stays")
    with pytest.raises(ClusterError) as refused:
        uninstall(alone)
    remedy = f"1 artifact ({ns.namespace}/stays), which cannot be deleted without the operator: run kubectl delete ma"
    assert remedy in str(refused.value)
    assert remedy in alone.kubectl("logs", "-n", SYSTEM, "job/modelferry-uninstall")
    with pytest.raises(ClusterError, match="OperatorRuns: the operator's pod modelferry-"):
        clean_up(alone, "--yes")
    roll_back(alone)
    install(alone, values)

    uninstall(alone, "--no-hooks")
    operators = ["get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=modelferry", "-o", "name"]
    ns.wait("the operator's pod to be gone", lambda: not alone.kubectl(*operators).strip())
    ns.delete("stays", wait=False)
    directories = [f"  {node}  /var/lib/modelferry/{ns.namespace}/stays" for node in nodes]
    assert clean_up(alone)[-len(nodes) - 1 : -1] == directories
    assert ns.get("ma", "stays")["metadata"]["finalizers"] == [names.FINALIZER]
    assert set(directories) <= set(clean_up(alone, "--namespace", ns.namespace, "--yes"))
    ns.kubectl("wait", "--for=delete", "ma/stays", "--timeout=30s")
    ns.wait("the claims and volumes to be gone", lambda: ns.all("pvc") == [] and ns.namespace not in volumes(alone))
    for node in nodes:
        for key in (names.copy_label(ns.namespace, "stays"), names.ready_label(ns.namespace, "stays")):
            assert ns.node_label(node, key) is None
    assert on_disk(alone, ns) == nodes
    assert clean_up(alone, "--yes") == ["there is nothing to delete", "done"]


def test_an_uninstallation_can_delete_the_artifacts_with_their_files(
    alone: Platform, ns: NamespaceClient, source: list[Object], values: dict[str, Any]
) -> None:
    install(alone, values | {"uninstall": {"artifacts": "delete"}})
    ns.apply(artifact("goes", source))
    ns.wait_ready("goes")
    uninstall(alone)
    assert ns.get("ma", "goes") == {}
    assert on_disk(alone, ns) == []
    assert "modelferry" not in alone.kubectl("get", "deployments,jobs,serviceaccounts", "-n", SYSTEM, "-o", "name")
    assert "modelferry-" not in alone.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")


def volumes(platform: Platform) -> str:
    """The names of all volumes."""
    return platform.kubectl("get", "pv", "-o", "name")
