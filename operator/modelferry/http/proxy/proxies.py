"""Which proxy a URL is requested through. Pure: `transport.sockets` connects.

Once a proxy is chosen there is no other route: where it fails, the request fails.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from modelferry.errors import InvalidSpec
from modelferry.http.auth.credentials import HeaderFields, basic
from modelferry.values.proxy_urls import PORTS, is_address, no_proxy_error, proxy_error, split_port
from modelferry.values.urls import host_port, server_of


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy. ``context`` verifies a proxy that is connected to by TLS. ``spec_field`` is the field of the spec that
    has it, for errors. As text it has no user name and password."""

    scheme: str
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)
    spec_field: str = "spec.transfer.proxy"

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """The proxy that `url` names. Raises ValueError, with the end of a sentence, where it names none."""
        before, at, after = url.rpartition("@")
        scheme, _, userinfo = before.rpartition("://")
        bare = f"{scheme}://{after}" if at else url
        if error := proxy_error(bare):
            raise ValueError(error)
        parts = urlsplit(bare)
        username, _, password = userinfo.partition(":") if at else ("", "", "")
        port = parts.port or PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname or "", port, unquote(username), unquote(password))

    def __str__(self) -> str:
        return f"{self.scheme}://{host_port(self.host, self.port)}"

    @property
    def speaks_http(self) -> bool:
        """Whether it speaks HTTP, not SOCKS."""
        return self.scheme in ("http", "https")

    @property
    def fields(self) -> HeaderFields:
        """The proxy's own credentials (RFC 9110 section 11.7.2); never for the server behind it."""
        if not self.username:
            return ()
        return (("Proxy-Authorization", basic(self.username, self.password).authorization),)

    def forwards(self, url: str) -> bool:
        """Whether a request for `url` goes to the proxy itself, in absolute form, rather than through a tunnel: squid
        and others allow tunnels to port 443 alone."""
        return self.speaks_http and urlsplit(url).scheme == "http"


@dataclass(frozen=True, slots=True)
class NoProxy:
    """One entry of a noProxy list.

    ``name`` matches the host and its subdomains, ``.name`` the subdomains alone, ``*`` every host; an address or
    ``network`` a URL that has an address in it, since names are not resolved for this. ``port``: only this port.
    """

    name: str = ""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, entry: str) -> NoProxy:
        """`entry`, which has no `no_proxy_error`."""
        if "/" in entry:
            return cls(network=ipaddress.ip_network(entry, strict=False))
        host, port = split_port(entry)
        if is_address(host):
            return cls(network=ipaddress.ip_network(host), port=port)
        return cls(host.lower().removesuffix("."), port=port)

    def covers(self, host: str, port: int) -> bool:
        """Whether `host` at `port` is reached directly."""
        if self.port not in (None, port):
            return False
        host = host.lower().removesuffix(".")
        if self.network is not None:
            return is_address(host) and ipaddress.ip_address(host) in self.network
        below = self.name if self.name.startswith(".") else f".{self.name}"
        return self.name in ("*", host) or (host.endswith(below) and not is_address(host))


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxy for each scheme of a URL; none for the hosts that are ``exempt``."""

    http: Proxy | None = None
    https: Proxy | None = None
    exempt: tuple[NoProxy, ...] = ()

    def for_url(self, url: str) -> Proxy | None:
        """The proxy for `url`, an absolute http or https URL; None where its server is reached directly."""
        proxy = self.https if urlsplit(url).scheme == "https" else self.http
        if proxy is None or any(entry.covers(*server_of(url)) for entry in self.exempt):
            return None
        return proxy


DIRECT = Proxies()

_LOOPBACK = tuple(map(NoProxy.parse, ("localhost", "127.0.0.0/8", "::1")))


def from_environment(environment: Mapping[str, str]) -> Proxies:
    """The proxies in http_proxy, https_proxy, all_proxy and no_proxy, lower case before upper case.

    This machine itself (localhost and loopback addresses) is reached directly: the environment means other machines. In
    a CGI program HTTP_PROXY may be a client's header field ("httpoxy"), so it is ignored where REQUEST_METHOD is set.
    Raises InvalidSpec that names the variable where it does not name a proxy.
    """

    def value(name: str) -> tuple[str, str]:
        names = [name, name.upper()]
        if name == "http_proxy" and "REQUEST_METHOD" in environment:
            names.pop()
        return next(((one, environment[one]) for one in names if environment.get(one)), (name, ""))

    def proxy(name: str) -> Proxy | None:
        variable, url = value(name)
        if not url:
            return None
        try:
            return Proxy.parse(url if "://" in url else f"http://{url}")
        except ValueError as error:
            raise InvalidSpec(f"the environment's {variable} {error}; correct it, or unset it") from None

    every = proxy("all_proxy")
    entries = value("no_proxy")[1].replace(",", " ").split()
    # Keywords of other programs (<local>) are ignored.
    exempt = tuple(NoProxy.parse(entry) for entry in entries if no_proxy_error(entry) is None)
    return Proxies(proxy("http_proxy") or every, proxy("https_proxy") or every, (*_LOOPBACK, *exempt))


def with_credentials(proxy: Proxy, username: str, password: str, where: str) -> Proxy:
    """`proxy` with `username` and `password`, which the field `where` of the spec names. Raises InvalidSpec."""
    if not proxy.speaks_http and not (0 < len(username.encode()) < 256 and 0 < len(password.encode()) < 256):
        raise InvalidSpec(f"{where}: a SOCKS5 user name and password have 1 to 255 bytes each (RFC 1929)")
    if proxy.speaks_http and (":" in username or not username):
        raise InvalidSpec(f"{where}: a user name for Basic has no colon and is not empty (RFC 7617)")
    return replace(proxy, username=username, password=password)
