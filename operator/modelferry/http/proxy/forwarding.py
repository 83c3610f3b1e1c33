"""Requests that a proxy forwards itself: plain http through an HTTP proxy. Everything else runs through a tunnel."""

from __future__ import annotations

from dataclasses import replace

from modelferry.http.proxy.selection import Proxies
from modelferry.http.transport.sockets import check_forwarded
from modelferry.http.wire import Head, Request


def addressed(request: Request, proxies: Proxies) -> Request:
    """`request` as it is sent on the way that `proxies` say: in absolute form, with what the proxy wants to see, where
    the proxy forwards it; else as it is."""
    proxy = proxies.of(request.url)
    if proxy is None or not proxy.forwards(request.url):
        return request
    return replace(request, absolute=True, fields=(*request.fields, *proxy.fields))


def check(request: Request, proxies: Proxies, head: Head) -> None:
    """Raise what `head` says, where it is the proxy's own answer: see `net.reach.check_forwarded`."""
    if request.absolute and (proxy := proxies.of(request.url)) is not None:
        check_forwarded(request.url, proxy, head.status, dict(head.fields))
