"""Fixtures for tests with real servers on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from network.harness import CHUNK, DownloadHarness, Serve
from origin.certs import Authority, Leaf
from origin.proxies import Dante, Squid, why_unavailable
from origin.server import HostileOrigin

#: A name that no name server knows; squid and dante are configured with its address.
INNER = "models.only-the-proxy-knows.test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.network)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of 64 KiB instead of 16 MiB."""
    monkeypatch.setattr("modelferry.manifest.chunks.CHUNK_SIZE", CHUNK)
    return CHUNK


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA for the test run."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def leaf(authority: Authority) -> Leaf:
    """A valid certificate for loopback."""
    return authority.leaf("127.0.0.1", "localhost")


@pytest.fixture(scope="session")
def inner_leaf(authority: Authority) -> Leaf:
    """A valid certificate for the name that only the proxies can resolve."""
    return authority.leaf(INNER, name="inner")


@pytest.fixture(scope="session")
def squid(leaf: Leaf) -> Iterator[Squid]:
    """An HTTP proxy that requires credentials."""
    _need(Squid)
    with Squid(leaf=leaf, names={INNER: "127.0.0.1"}) as squid:
        yield squid


@pytest.fixture(scope="session")
def dante() -> Iterator[Dante]:
    """A SOCKS5 proxy that requires credentials."""
    _need(Dante)
    with Dante(names={INNER: "127.0.0.1"}) as dante:
        yield dante


def _need(kind: type[Squid] | type[Dante]) -> None:
    if why := why_unavailable(kind):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


@pytest.fixture(scope="session")
def data() -> bytes:
    """The content of a file of six chunks, the last one short."""
    return Random(7).randbytes(5 * CHUNK + 1234)


@pytest.fixture
def harness(tmp_path: Path, authority: Authority) -> DownloadHarness:
    """An empty target directory."""
    directory = tmp_path / "target"
    directory.mkdir()
    return DownloadHarness(directory, authority.ca_file)


@pytest.fixture
def serve(leaf: Leaf) -> Serve:
    """Creates misbehaving origins, with TLS by default."""

    def make(contents: dict[str, bytes], **options: object) -> HostileOrigin:
        return HostileOrigin(contents, **({"tls": leaf.context()} | options))  # type: ignore[arg-type]

    return make
