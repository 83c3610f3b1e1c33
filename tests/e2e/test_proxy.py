"""Through a real squid and a real dante: right and wrong credentials, and proxies that die in the middle."""

from __future__ import annotations

from typing import Any

from e2e.behind import LARGE, Behind, credentials
from e2e.kit import Kit, Object, artifact, told
from origin.planted import found_in
from origin.proxies import PASSWORD, USERNAME


def proxied(name: str, files: list[dict[str, Any]], url: str, secret: str = "", **transfer: Any) -> Object:
    """An artifact with a proxy."""
    proxy: Object = {"url": url} | ({"auth": {"secretRef": {"name": secret}}} if secret else {})
    return artifact(name, files, transfer={"proxy": proxy} | transfer)


def ways(behind: Behind) -> dict[str, str]:
    """Each kind of proxy by a name."""
    return {"squid": behind.squid.url, "squid-tls": behind.squid.tls_url, "dante": behind.dante.url}


def test_models_arrive_through_each_kind_of_proxy_with_credentials(kit: Kit, behind: Behind) -> None:
    credentials(kit, "egress")
    kit.apply(*(proxied(name, behind.small, url, "egress") for name, url in ways(behind).items()))
    for name in ways(behind):
        kit.wait_ready(name)
    assert behind.nginx.requests()
    assert f"CONNECT {behind.address} {USERNAME}" in behind.squid.log
    assert f"username%{USERNAME}@" in behind.dante.log
    assert [where for where, text in told(kit).items() if found_in(text, PASSWORD)] == []


def test_wrong_and_missing_credentials_are_told(kit: Kit, behind: Behind) -> None:
    credentials(kit, "stale", "wrong")
    seen = len(behind.nginx.requests())
    kit.apply(
        proxied("squid-wrong", behind.small, behind.squid.url, "stale"),
        proxied("squid-without", behind.small, behind.squid.url),
        proxied("dante-wrong", behind.small, behind.dante.url, "stale"),
        proxied("dante-unmade", behind.small, behind.dante.url, "lost"),
    )
    assert f"the proxy {behind.squid.url} does not take" in kit.wait_stalled("squid-wrong", "ProxyDenied")
    assert "wants a user name and password" in kit.wait_stalled("squid-without", "ProxyDenied")
    assert f"the proxy {behind.dante.url} does not take" in kit.wait_stalled("dante-wrong", "ProxyDenied")
    assert "spec.transfer.proxy.auth: there is no Secret 'lost'" in kit.wait_stalled("dante-unmade", "SecretMissing")
    assert len(behind.nginx.requests()) == seen


def test_a_download_outlives_the_death_of_its_proxy(kit: Kit, behind: Behind) -> None:
    node, before = kit.platform.node_names[0], sum(request.sent for request in behind.nginx.requests())
    spec = {"nodes": {"selector": {"kubernetes.io/hostname": node}}}
    credentials(kit, "egress")
    for name, url in ways(behind).items():
        wanted = proxied(name, behind.large, url, "egress", connections=4)
        kit.apply(wanted | {"spec": wanted["spec"] | spec})
    for name in ways(behind):
        kit.wait_bytes(name, node, 0.2)
    behind.squid.kill()
    behind.dante.kill()

    def in_vain() -> bool:
        return all(kit.copy(name, node).get("retries", 0) >= 8 for name in ways(behind))

    try:
        kit.wait("each download to try again and again", in_vain)
        for name in ways(behind):
            assert kit.copy(name, node)["bytesDone"] < len(LARGE)
            assert not kit.condition(name, "Stalled")
    finally:
        behind.squid.start()
        behind.dante.start()
    for name in ways(behind):
        kit.wait_ready(name)
        assert kit.status(name)["checksum"] == "Verified"
    sent = sum(request.sent for request in behind.nginx.requests()) - before
    assert sent >= len(LARGE) * len(ways(behind)), "what was asked for past the log"
