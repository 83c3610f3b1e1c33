"""An origin that pods reach only through squid or dante: it listens on loopback, with a name that only the two know."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from e2e.namespace_client import NamespaceClient
from e2e.origins import MIB
from origin.certs import Leaf
from origin.nginx import Nginx
from origin.proxies import PASSWORD, USERNAME, Dante, Squid, why_unavailable

INNER = "models.only-the-proxy-knows.test"

#: Bytes per second of one stream: with four of them the large file takes 12 s.
RATE = 2 * MIB
SMALL, LARGE = b"model" * 1000, Random(3).randbytes(96 * MIB)


@dataclass(frozen=True)
class ProxiedOrigin:
    """Two files on nginx, and the two proxies."""

    squid: Squid
    dante: Dante
    nginx: Nginx

    @property
    def small(self) -> list[dict[str, Any]]:
        """`source.http.files` of 5 kB, by the name that the proxies know."""
        return self._file("small.bin", SMALL)

    @property
    def large(self) -> list[dict[str, Any]]:
        """`source.http.files` of 96 MiB."""
        return self._file("large.bin", LARGE)

    @property
    def address(self) -> str:
        """Host and port, as a client sends them to a proxy."""
        return f"{INNER}:{self.nginx.port}"

    def url(self, path: str) -> str:
        """The URL of a file, or of a mirror if `path` is a template."""
        return self.nginx.url(path).replace("127.0.0.1", INNER)

    def _file(self, path: str, content: bytes) -> list[dict[str, Any]]:
        return [{"path": path, "url": self.url(path), "sha256": hashlib.sha256(content).hexdigest()}]


@contextmanager
def run_proxied_origin(host: str, leaf: Leaf, inner: Leaf) -> Iterator[ProxiedOrigin]:
    """Run nginx on loopback with the certificate `inner`, and the proxies on `host`, which pods reach."""
    if why := why_unavailable(Squid) or why_unavailable(Dante):
        pytest.fail(why)
    names = {INNER: "127.0.0.1"}
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "small.bin").write_bytes(SMALL)
        (Path(root) / "large.bin").write_bytes(LARGE)
        with (
            Nginx(Path(root), leaf=inner, rate=RATE) as nginx,
            Squid(host=host, leaf=leaf, names=names, outgoing="") as squid,
            Dante(host=host, names=names, outgoing="127.0.0.1") as dante,
        ):
            yield ProxiedOrigin(squid, dante, nginx)


def credentials(ns: NamespaceClient, name: str, password: str = PASSWORD) -> None:
    """Create a Secret with the proxies' user name, and the `password`."""
    literals = [f"--from-literal=username={USERNAME}", f"--from-literal=password={password}"]
    ns.kubectl("create", "secret", "generic", name, *literals)
