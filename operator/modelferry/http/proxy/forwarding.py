"""Requests that a proxy forwards itself: plain http through an HTTP proxy. Everything else runs through a tunnel."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from modelferry.http.proxy.http_connect import proxy_error
from modelferry.http.proxy.proxies import Proxies
from modelferry.http.wire import Head, Request


def request_for_proxy(request: Request, proxies: Proxies) -> Request:
    """`request` as it is sent by the route that `proxies` choose: in absolute form, with the proxy's credentials, where
    the proxy forwards it; else as it is."""
    proxy = proxies.for_url(request.url)
    if proxy is None or not proxy.forwards(request.url):
        return request
    return replace(request, absolute=True, credential=(*request.credential, *proxy.fields))


def check_forwarded(request: Request, proxies: Proxies, head: Head) -> None:
    """Raise what `head` means, where it is the proxy's own response to a forwarded request and not the server's; as
    `proxy_error`."""
    proxy = proxies.for_url(request.url) if request.absolute else None
    if proxy is not None and (head.status == 407 or (head.status >= 400 and head.get("x-squid-error"))):
        raise proxy_error(proxy, urlsplit(request.url).netloc, head)
