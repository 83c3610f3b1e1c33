"""The ways to an origin that the catalogue of hostile servers is run over (`test_catalogue`)."""

from __future__ import annotations

from dataclasses import replace

from modelferry.http.proxy.selection import NoProxy, Proxies, Proxy
from origin.proxies import PASSWORD, USERNAME

#: Straight, and through each of the proxies, by the name of the fixture that runs it.
DIRECT = "direct"
WAYS = (DIRECT, "squid", "dante")


def through(url: str, username: str = USERNAME, password: str = PASSWORD, *exempt: str) -> Proxies:
    """One proxy for everything but `exempt`."""
    proxy = replace(Proxy.parse(url), username=username, password=password)
    return Proxies(proxy, proxy, tuple(map(NoProxy.parse, exempt)))
