"""The cluster that the end-to-end tests run on: raised here, kept from before (CLUSTER=name), or any (KUBECONFIG=…)."""

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

#: For KUBECONFIG=…: the image that its nodes can pull, and this machine's address as its pods see it.
IMAGE_VARIABLE, ADDRESS_VARIABLE = "MODELFERRY_TEST_IMAGE", "MODELFERRY_TEST_ADDRESS"


@dataclass(frozen=True)
class Platform:
    """A cluster with the image under test. `own` is None on somebody else's: nothing is done to its nodes then."""

    kubeconfig: Path
    image: str
    host_address: str
    own: Cluster | None

    def kubectl(self, *args: str | Path, input: str | None = None, timeout: float = 120) -> str:
        """Runs kubectl as the administrator and returns what it printed; `timeout` in seconds."""
        if self.own:
            return self.own.kubectl(*args, input=input, timeout=timeout)
        return run(["kubectl", *args], input=input, timeout=timeout, env=self._environment())

    def helm(self, *args: str | Path, timeout: float = 180) -> str:
        """Runs helm as the administrator and returns what it printed; `timeout` in seconds."""
        if self.own:
            return self.own.helm(*args, timeout=timeout)
        return run(["helm", *args], timeout=timeout, env=self._environment())

    def kubectl_argv(self, *args: str) -> tuple[list[str], dict[str, str]]:
        """A kubectl command and its environment, for one that runs beside the test."""
        program = str(binaries.kubectl_path()) if self.own else "kubectl"
        return [program, *args], self._environment()

    @property
    def node_names(self) -> list[str]:
        """The names of the nodes."""
        return self.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()

    @property
    def nodes(self) -> Cluster:
        """Our own cluster's machines; on another cluster the test is left out."""
        if self.own is None:
            pytest.skip("stops, adds or looks into nodes: only on the cluster that tests/cluster raises")
        return self.own

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "*"}


@contextmanager
def platform() -> Iterator[Platform]:
    """The platform that the environment asks for; one that was raised here is taken down at the end."""
    if given := os.environ.get("KUBECONFIG"):
        yield _foreign(Path(given))
        return
    built = image.under_test()
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
        pytest.exit(f"KUBECONFIG={kubeconfig}: the end-to-end tests need {', '.join(missing)} besides", returncode=2)
    return Platform(kubeconfig, os.environ[IMAGE_VARIABLE], os.environ[ADDRESS_VARIABLE], None)
