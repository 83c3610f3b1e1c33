"""Downloads through squid and dante: correct and wrong credentials, and proxies that fail during a download."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.namespace_client import NamespaceClient, Object, artifact, readable_output
from e2e.platform import Platform
from e2e.proxied_origin import LARGE, ProxiedOrigin, credentials
from origin.certs import Leaf
from origin.nginx import Nginx
from origin.planted import found_in
from origin.proxies import PASSWORD, USERNAME


def artifact_with_proxy(name: str, files: list[dict[str, Any]], url: str, secret: str = "", **transfer: Any) -> Object:
    """An artifact with a proxy."""
    proxy: Object = {"url": url} | ({"auth": {"secretRef": {"name": secret}}} if secret else {})
    return artifact(name, files, transfer={"proxy": proxy} | transfer)


def proxy_urls(proxied_origin: ProxiedOrigin) -> dict[str, str]:
    """The URLs of the proxies, by name."""
    return {
        "squid": proxied_origin.squid.url,
        "squid-tls": proxied_origin.squid.tls_url,
        "dante": proxied_origin.dante.url,
    }


def test_models_are_fetched_through_each_kind_of_proxy_with_credentials(
    ns: NamespaceClient, proxied_origin: ProxiedOrigin
) -> None:
    credentials(ns, "egress")
    ns.apply(
        *(
            artifact_with_proxy(name, proxied_origin.small, url, "egress")
            for name, url in proxy_urls(proxied_origin).items()
        )
    )
    for name in proxy_urls(proxied_origin):
        ns.wait_ready(name)
    assert proxied_origin.nginx.requests()
    assert f"CONNECT {proxied_origin.address} {USERNAME}" in proxied_origin.squid.log
    assert f"username%{USERNAME}@" in proxied_origin.dante.log
    assert [where for where, text in readable_output(ns).items() if found_in(text, PASSWORD)] == []


def test_wrong_and_missing_proxy_credentials_are_reported(ns: NamespaceClient, proxied_origin: ProxiedOrigin) -> None:
    credentials(ns, "stale", "wrong")
    seen = len(proxied_origin.nginx.requests())
    ns.apply(
        artifact_with_proxy("squid-wrong", proxied_origin.small, proxied_origin.squid.url, "stale"),
        artifact_with_proxy("squid-without", proxied_origin.small, proxied_origin.squid.url),
        artifact_with_proxy("dante-wrong", proxied_origin.small, proxied_origin.dante.url, "stale"),
        artifact_with_proxy("dante-unmade", proxied_origin.small, proxied_origin.dante.url, "lost"),
    )
    assert f"the proxy {proxied_origin.squid.url} does not accept" in ns.wait_stalled("squid-wrong", "ProxyDenied")
    assert "requires a user name and password" in ns.wait_stalled("squid-without", "ProxyDenied")
    assert f"the proxy {proxied_origin.dante.url} does not accept" in ns.wait_stalled("dante-wrong", "ProxyDenied")
    assert "spec.transfer.proxy.auth: there is no Secret 'lost'" in ns.wait_stalled("dante-unmade", "SecretMissing")
    assert len(proxied_origin.nginx.requests()) == seen


def test_a_download_resumes_after_a_failure_of_its_proxy(ns: NamespaceClient, proxied_origin: ProxiedOrigin) -> None:
    node, before = ns.platform.node_names[0], sum(request.sent for request in proxied_origin.nginx.requests())
    spec = {"nodes": {"selector": {"kubernetes.io/hostname": node}}}
    credentials(ns, "egress")
    for name, url in proxy_urls(proxied_origin).items():
        wanted = artifact_with_proxy(name, proxied_origin.large, url, "egress", connections=4)
        ns.apply(wanted | {"spec": wanted["spec"] | spec})
    for name in proxy_urls(proxied_origin):
        ns.wait_bytes(name, node, 0.2)
    proxied_origin.squid.kill()
    proxied_origin.dante.kill()

    def retried() -> bool:
        return all(ns.copy(name, node).get("retries", 0) >= 8 for name in proxy_urls(proxied_origin))

    try:
        ns.wait("each download to retry", retried)
        for name in proxy_urls(proxied_origin):
            assert ns.copy(name, node)["bytesDone"] < len(LARGE)
            assert not ns.condition(name, "Stalled")
    finally:
        proxied_origin.squid.start()
        proxied_origin.dante.start()
    for name in proxy_urls(proxied_origin):
        ns.wait_ready(name)
        assert ns.status(name)["checksum"] == "Verified"
    sent = sum(request.sent for request in proxied_origin.nginx.requests()) - before
    assert sent >= len(LARGE) * len(proxy_urls(proxied_origin)), "requests are missing in the log"


@pytest.fixture
def direct(installed: Platform, leaf: Leaf, tmp_path: Path) -> Iterator[Nginx]:
    """The large file on a server that pods reach without a proxy."""
    (tmp_path / "large.bin").write_bytes(LARGE)
    with Nginx(tmp_path, leaf=leaf, host=installed.host_address) as nginx:
        yield nginx


def mirrored(name: str, ns: NamespaceClient, direct: Nginx, mirrors: list[Object]) -> Object:
    """An artifact for one node; its source needs no proxy, and each mirror has its own."""
    file = {"path": "large.bin", "url": direct.url("large.bin"), "sha256": hashlib.sha256(LARGE).hexdigest()}
    nodes = {"selector": {"kubernetes.io/hostname": ns.platform.node_names[0]}}
    return artifact(name, [file], nodes=nodes, mirrors=mirrors, transfer={"connections": 8})


def by_name(ns: NamespaceClient, name: str) -> dict[str, Object]:
    """`status.mirrors`."""
    return {entry["name"]: entry for entry in ns.status(name).get("mirrors") or []}


def test_each_mirror_is_reached_through_its_own_proxy_and_the_source_directly(
    ns: NamespaceClient, proxied_origin: ProxiedOrigin, direct: Nginx
) -> None:
    credentials(ns, "egress")
    before = len(proxied_origin.dante.log), len(proxied_origin.squid.log)
    proxies = {"by-squid": proxied_origin.squid.url, "by-dante": proxied_origin.dante.url}
    mirrors: list[Object] = [
        {
            "name": name,
            "priority": 0,
            "url": proxied_origin.url("{path}"),
            "proxy": {"url": url, "auth": {"secretRef": {"name": "egress"}}},
        }
        for name, url in proxies.items()
    ]
    ns.apply(mirrored("far", ns, direct, mirrors))
    ns.wait_ready("far")
    assert ns.status("far")["checksum"] == "Verified"
    found = by_name(ns, "far")
    assert all(found[name]["bytes"] > 0 for name in proxies), found
    assert sum(found[name]["bytes"] for name in proxies) >= len(LARGE)
    # The resolve pod read the size of the file from the source; afterwards there were only probes.
    assert {request.sent for request in direct.requests()} == {1}
    squid, dante = proxied_origin.squid.log[before[1] :], proxied_origin.dante.log[before[0] :]
    assert f"CONNECT {proxied_origin.address} {USERNAME}" in squid
    assert f"username%{USERNAME}@" in dante
    assert str(direct.port) not in squid + dante
    assert [where for where, text in readable_output(ns).items() if found_in(text, PASSWORD)] == []


def test_a_mirror_with_an_unreachable_proxy_is_reported_and_the_source_is_used(
    ns: NamespaceClient, proxied_origin: ProxiedOrigin, direct: Nginx
) -> None:
    seen = len(proxied_origin.nginx.requests())
    unreachable = f"http://{ns.platform.host_address}:9"
    mirrors: list[Object] = [{"name": "far", "url": proxied_origin.url("{path}"), "proxy": {"url": unreachable}}]
    ns.apply(mirrored("far", ns, direct, mirrors))
    ns.wait_ready("far")
    found = by_name(ns, "far")
    assert found["far"]["state"] == "Down"
    assert f"proxy {unreachable}" in found["far"]["message"]
    assert found["source"]["bytes"] >= len(LARGE)
    told_ = [reason for reason, _ in ns.events("far")]
    assert told_.count("MirrorDown") == told_.count("FellBackToSource") == 1
    assert len(proxied_origin.nginx.requests()) == seen
