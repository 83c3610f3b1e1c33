"""The cluster of the end-to-end tests: a new one, a kept one (CLUSTER=name), or any other (KUBECONFIG=…)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster import Cluster, binaries, image
from cluster.shell import run

#: With KUBECONFIG=…: an image that the nodes can pull, and the address of this machine that pods can reach.
IMAGE_VARIABLE, ADDRESS_VARIABLE = "MODELFERRY_TEST_IMAGE", "MODELFERRY_TEST_ADDRESS"


@dataclass(frozen=True)
class Platform:
    """A cluster with the image under test. `own` is None for a cluster from KUBECONFIG, whose nodes are not changed."""

    kubeconfig: Path
    image: str
    host_address: str
    own: Cluster | None

    def kubectl(self, *args: str | Path, input: str | None = None, timeout: float = 120) -> str:
        """Runs kubectl as the administrator and returns its output; `timeout` in seconds."""
        if self.own:
            return self.own.kubectl(*args, input=input, timeout=timeout)
        return run(["kubectl", *args], input=input, timeout=timeout, env=self._environment())

    def helm(self, *args: str | Path, timeout: float = 180) -> str:
        """Runs helm as the administrator and returns its output; `timeout` in seconds."""
        if self.own:
            return self.own.helm(*args, timeout=timeout)
        return run(["helm", *args], timeout=timeout, env=self._environment())

    def kubectl_argv(self, *args: str) -> tuple[list[str], dict[str, str]]:
        """A kubectl command and its environment, to run in the background."""
        program = str(binaries.kubectl_path()) if self.own else "kubectl"
        return [program, *args], self._environment()

    @property
    def node_names(self) -> list[str]:
        """The names of the nodes."""
        return self.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()

    @property
    def nodes(self) -> Cluster:
        """The test cluster, to change its nodes; skips the test on another cluster."""
        if self.own is None:
            pytest.skip("stops, adds or inspects nodes; runs only on a cluster of tests/cluster")
        return self.own

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "*"}


@contextmanager
def platform() -> Iterator[Platform]:
    """The platform that the environment selects; a new cluster is deleted at the end."""
    if given := os.environ.get("KUBECONFIG"):
        yield _foreign(Path(given))
        return
    built = image.project_image()
    if name := os.environ.get("CLUSTER"):
        kept = Cluster.attach(name)
        kept.load_image(built.tar)
        yield Platform(kept.kubeconfig, built.reference, kept.host_address, kept)
        return
    with Cluster.up(nodes=2, disk="4G", images=[built.tar]) as cluster:
        yield Platform(cluster.kubeconfig, built.reference, cluster.host_address, cluster)


def _foreign(kubeconfig: Path) -> Platform:
    missing = [tool for tool in ("kubectl", "helm") if not shutil.which(tool)]
    missing += [name for name in (IMAGE_VARIABLE, ADDRESS_VARIABLE) if not os.environ.get(name)]
    if missing:
        pytest.exit(f"KUBECONFIG={kubeconfig}: the end-to-end tests also need {', '.join(missing)}", returncode=2)
    return Platform(kubeconfig, os.environ[IMAGE_VARIABLE], os.environ[ADDRESS_VARIABLE], None)
