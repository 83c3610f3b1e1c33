"""A tunnel through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), without I/O."""

from __future__ import annotations

import re
from http import HTTPStatus

from modelferry import __version__
from modelferry.errors import ConnectionFailed, ModelferryError, ProxyDenied, ProxyRefused, UnknownHost
from modelferry.http.proxy.proxies import Proxy
from modelferry.http.wire import Head
from modelferry.values.urls import host_port

#: Bytes of a response's head; its body is a page for a browser.
MAX_HEAD = 32 * 1024

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?", re.ASCII)


class ConnectTunnel:
    """Asks `proxy` for a tunnel to `host` at `port`. It receives its own credentials and nothing of the request."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.done = False
        self._proxy = proxy
        self._target = host_port(host, port)
        self._received = b""

    def begin(self) -> bytes:
        """What is sent first."""
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}", f"User-Agent: modelferry/{__version__}"]
        lines += [f"{name}: {value}" for name, value in self._proxy.fields]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def receive(self, data: bytes) -> bytes:
        """Take what was received; nothing more is sent. `done` when the tunnel is open. Raises what `proxy_error`
        returns, and ProxyRefused where it is not a response."""
        self._received += data
        while not self.done:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD:
                raise self._invalid(f"more than {MAX_HEAD} bytes of header")
            line = _STATUS.fullmatch(head.partition(b"\r\n")[0])
            if line is None and (end or b"\r\n" in head or not b"HTTP/1.".startswith(head[:7])):
                raise self._invalid("no HTTP response")
            if not end:
                break
            assert line is not None
            status = int(line[1])
            self._received = rest
            if 100 <= status < 200 and status != 101:
                continue
            if not 200 <= status < 300:
                raise proxy_error(self._proxy, self._target, _head(status, head))
            if rest:
                raise self._invalid("bytes before any request")
            self.done = True
        return b""

    def _invalid(self, what: str) -> ProxyRefused:
        return ProxyRefused(f"the proxy {self._proxy} answers CONNECT with {what}; check the proxy's scheme and port")


def proxy_error(proxy: Proxy, target: str, head: Head) -> ModelferryError:
    """What the response of `proxy` that begins with `head` (not 2xx) means for a request to `target`.

    ConnectionFailed where that may change by itself; else ProxyDenied, ProxyRefused or UnknownHost.
    """
    status = head.status
    said = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
    squid = (head.get("x-squid-error") or "").partition(" ")[0]
    said += f", {squid}" if re.fullmatch(r"ERR_[A-Z_]{1,40}", squid) else ""
    if status == 407:
        return ProxyDenied(_denied(proxy, head.get("proxy-authenticate") or ""))
    if squid == "ERR_DNS_FAIL":
        return UnknownHost(f"the proxy {proxy} cannot resolve {target} ({said}); check the name and the proxy's DNS")
    if status >= 500 or status in (408, 429):
        message = f"the proxy {proxy} cannot reach {target} ({said})"
        return ConnectionFailed(message, persistent_error=ProxyRefused)
    return ProxyRefused(
        f"the proxy {proxy} denied access to {target} ({said}); allow it in the proxy's rules, or use another proxy"
    )


def _denied(proxy: Proxy, challenge: str) -> str:
    offered = sorted(set(re.findall(r"(?:^|,)\s*([A-Za-z][A-Za-z-]*)(?= |,|$)", challenge)))
    if offered and "basic" not in map(str.lower, offered):
        return (
            f"the proxy {proxy} accepts only {', '.join(offered)} (407); enable Basic in the proxy, which is what"
            " Modelferry supports"
        )
    if not proxy.username:
        return (
            f"the proxy {proxy} requires a user name and password (407); give them by a Secret that"
            f" {proxy.spec_field}.auth names"
        )
    return f"the proxy {proxy} does not accept the user name or password (407); correct the Secret"


def _head(status: int, received: bytes) -> Head:
    lines = received.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return Head(status, (1, 1), tuple((name.strip().lower(), value.strip()) for name, _, value in pairs))
