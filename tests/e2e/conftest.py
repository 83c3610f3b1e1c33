"""Fixtures of the end-to-end suite: the platform, the operator on it, a namespace for each test, and real origins."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.namespace_client import SYSTEM, NamespaceClient
from e2e.origins import MIB, files, model
from e2e.platform import Platform, platform
from e2e.proxied_origin import INNER, ProxiedOrigin, run_proxied_origin
from origin.certs import Authority, Leaf
from origin.model import ModelFile
from origin.nginx import Nginx

CHART = Path(__file__).parents[2] / "charts/modelferry"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def bare_platform() -> Iterator[Platform]:
    """The cluster, without the operator."""
    with platform() as found:
        yield found


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the test origins, which the operator trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def leaf(authority: Authority, bare_platform: Platform) -> Leaf:
    """The certificate for the address of this machine that pods reach."""
    return authority.leaf(bare_platform.host_address, name="origin")


@pytest.fixture(scope="session")
def values(bare_platform: Platform, authority: Authority) -> dict[str, Any]:
    """The chart's values: the image under test, and the test origins' CA."""
    repository, _, tag = bare_platform.image.rpartition(":")
    image = {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
    orphans = {"afterSeconds": 3}
    return {"image": image, "trustedCA": authority.ca_file.read_text(), "orphanedDirectories": orphans}


@pytest.fixture(scope="session")
def installed(bare_platform: Platform, values: dict[str, Any]) -> Platform:
    """The cluster with the operator, installed as in the README, which trusts the test origins' CA."""
    install(bare_platform, values)
    return bare_platform


def install(where: Platform, values: Mapping[str, Any]) -> None:
    """Install the chart with `values`, or upgrade to them, and wait until the operator is ready."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        where.helm(
            "upgrade", "--install", "modelferry", CHART, "--namespace", SYSTEM, "--create-namespace",
            "--values", file.name, "--wait", "--timeout", "120s",
        )  # fmt: skip
    # kubectl keeps what it has discovered of a server, maybe from before the CRD; this command renews it.
    where.kubectl("api-resources", "--api-group=modelferry.dev")


@pytest.fixture(scope="module")
def proxied_origin(installed: Platform, authority: Authority, leaf: Leaf) -> Iterator[ProxiedOrigin]:
    """Files behind squid and dante."""
    with run_proxied_origin(installed.host_address, leaf, authority.leaf(INNER, name="inner")) as found:
        yield found


@pytest.fixture
def ns(installed: Platform) -> Iterator[NamespaceClient]:
    """A namespace for one test, deleted afterwards."""
    with namespace(installed) as found:
        yield found


@contextmanager
def namespace(installed: Platform) -> Iterator[NamespaceClient]:
    """A namespace that enforces Pod Security `restricted`."""
    name = f"speech-{secrets.token_hex(3)}"
    installed.kubectl("create", "namespace", name)
    installed.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    found = NamespaceClient(installed, name)
    yield found
    # Without waiting: the operator deletes files on the nodes while the next test starts.
    found.kubectl("delete", "deployments,ma", "--all", "--wait=false")
    installed.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def quiet(installed: Platform) -> NamespaceClient:
    """The default namespace, for tests that use only the API server."""
    return NamespaceClient(installed, "default")


@dataclass(frozen=True)
class Served:
    """A model on nginx: its files, and the server with its log."""

    nginx: Nginx
    files: list[ModelFile]

    @property
    def source(self) -> list[dict[str, Any]]:
        """`source.http.files`."""
        return files(self.nginx, self.files)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    def sent(self) -> int:
        """Bytes of content that nginx has sent so far, over all requests that have ended."""
        return sum(request.sent for request in self.nginx.requests())


@pytest.fixture
def small(installed: Platform, leaf: Leaf) -> Iterator[Served]:
    """256 MiB behind nginx with TLS at 4 MiB/s per stream: 16 s with 4 streams, enough time to interrupt the
    download."""
    root, found = model(256 * MIB)
    with Nginx(root, leaf=leaf, host=installed.host_address, rate=4 * MIB) as nginx:
        yield Served(nginx, found)
