"""Through a real squid and a real dante: the origin listens where no pod can reach it, under a name that they alone
know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.kit import Kit, Object, artifact, told
from e2e.platform import Platform
from origin.certs import Authority, Leaf
from origin.nginx import Nginx
from origin.planted import found_in
from origin.proxies import PASSWORD, USERNAME, Dante, Squid, why_not

INNER = "models.only-the-proxy-knows.test"


@dataclass(frozen=True)
class Behind:
    """A file behind two proxies. ``files``: `source.http.files`, by the name that the proxies know."""

    squid: Squid
    dante: Dante
    nginx: Nginx
    files: list[dict[str, Any]]


@pytest.fixture(scope="module")
def behind(
    installed: Platform, authority: Authority, leaf: Leaf, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Behind]:
    """nginx on loopback, and the proxies where pods reach them."""
    if why := why_not(Squid) or why_not(Dante):
        pytest.fail(why)
    root = tmp_path_factory.mktemp("behind")
    (root / "a.bin").write_bytes(b"model" * 1000)
    names, host = {INNER: "127.0.0.1"}, installed.host_address
    with (
        Nginx(root, leaf=authority.leaf(INNER, name="inner")) as nginx,
        Squid(host=host, leaf=leaf, names=names, outgoing="") as squid,
        Dante(host=host, names=names, outgoing="127.0.0.1") as dante,
    ):
        url = nginx.url("a.bin").replace("127.0.0.1", INNER)
        yield Behind(squid, dante, nginx, [{"path": "a.bin", "url": url}])


def credentials(kit: Kit, name: str, password: str) -> None:
    """A Secret of the namespace."""
    literals = [f"--from-literal=username={USERNAME}", f"--from-literal=password={password}"]
    kit.kubectl("create", "secret", "generic", name, *literals)


def proxied(name: str, behind: Behind, url: str, secret: str = "") -> Object:
    """An artifact with a proxy."""
    proxy: Object = {"url": url} | ({"auth": {"secretRef": {"name": secret}}} if secret else {})
    return artifact(name, behind.files, transfer={"proxy": proxy})


def test_models_arrive_through_each_kind_of_proxy_with_credentials(kit: Kit, behind: Behind) -> None:
    credentials(kit, "egress", PASSWORD)
    ways = {"squid": behind.squid.url, "squid-tls": behind.squid.tls_url, "dante": behind.dante.url}
    kit.apply(*(proxied(name, behind, url, "egress") for name, url in ways.items()))
    for name in ways:
        kit.wait_ready(name)
    assert behind.nginx.requests()
    assert f"CONNECT {INNER}:{behind.nginx.port} {USERNAME}" in behind.squid.log
    assert f"username%{USERNAME}@" in behind.dante.log
    assert [where for where, text in told(kit).items() if found_in(text, PASSWORD)] == []


def test_wrong_and_missing_credentials_are_told(kit: Kit, behind: Behind) -> None:
    credentials(kit, "stale", "wrong")
    seen = len(behind.nginx.requests())
    kit.apply(
        proxied("squid-wrong", behind, behind.squid.url, "stale"),
        proxied("squid-without", behind, behind.squid.url),
        proxied("dante-wrong", behind, behind.dante.url, "stale"),
        proxied("dante-unmade", behind, behind.dante.url, "lost"),
    )
    assert f"the proxy {behind.squid.url} does not take" in kit.wait_stalled("squid-wrong", "ProxyDenied")
    assert "wants a user name and password" in kit.wait_stalled("squid-without", "ProxyDenied")
    assert f"the proxy {behind.dante.url} does not take" in kit.wait_stalled("dante-wrong", "ProxyDenied")
    assert "spec.transfer.proxy.auth: there is no Secret 'lost'" in kit.wait_stalled("dante-unmade", "SecretMissing")
    assert len(behind.nginx.requests()) == seen
