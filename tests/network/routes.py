"""The routes to an origin in the tests: direct, or through a proxy."""

from __future__ import annotations

from dataclasses import replace

from modelferry.http.proxy.proxies import NoProxy, Proxies, Proxy
from origin.proxies import PASSWORD, USERNAME

#: Direct, and through each proxy, by the name of the fixture that runs it.
DIRECT = "direct"
ROUTES = (DIRECT, "squid", "dante")


def through(url: str, username: str = USERNAME, password: str = PASSWORD, *exempt: str) -> Proxies:
    """Use one proxy for all hosts except `exempt`."""
    proxy = replace(Proxy.parse(url), username=username, password=password)
    return Proxies(proxy, proxy, tuple(map(NoProxy.parse, exempt)))
