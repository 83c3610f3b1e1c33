"""What a request must carry to be let in, and to whom it may be shown.

A credential is asked for its fields with the very URL that is about to be requested, at every hop. So one that is
`HostScoped` cannot follow a redirect to another host, whoever sends it there.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from modelferry.values.urls import server_of

#: Header fields of one request, in order.
HeaderFields = tuple[tuple[str, str], ...]

#: GETs a URL with these fields and no credential, or POSTs a form (URL-encoded) where that is not empty; returns status
#: and body, of at most `LONGEST_ANSWER` bytes. Whoever makes requests lends it to a credential, so that what it asks
#: goes the same way: by the same proxy, with the same trust. Raises what a request raises.
SendRequest = Callable[[str, HeaderFields, bytes], Awaitable[tuple[int, bytes]]]
FORM = "application/x-www-form-urlencoded"
LONGEST_ANSWER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was answered by 401 or 403, with ``challenge`` (WWW-Authenticate, or empty), although this
    credential had ``shown`` its fields."""

    url: str
    challenge: str
    shown: HeaderFields = field(default=(), repr=False)


class Credential(Protocol):
    """One way of being let in. It never shows its secret in `repr`."""

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """The fields for a request for `url`; none where `url` is no business of this credential. `fields`: what the
        request carries besides, for a signature may have to cover it."""

    async def refused(self, refusal: Refusal, ask: SendRequest) -> bool:
        """True where another try may succeed, since what is shown has been renewed, which `ask` may serve for."""


async def renewed(credential: Credential, refusal: Refusal, status: int, ask: SendRequest) -> bool:
    """Whether a request that was answered by `status` is to be made once more, with what `credential` shows then."""
    return status in (401, 403) and await credential.refused(refusal, ask)


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Asks without any credential."""

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return ()

    async def refused(self, refusal: Refusal, ask: SendRequest) -> bool:
        """See Credential."""
        return False


ANONYMOUS = Anonymous()


@dataclass(frozen=True, slots=True)
class StaticCredential:
    """An Authorization field that is the same for each request (RFC 9110 section 11.6.2), and a Cookie where there is
    one."""

    authorization: str = field(repr=False)
    cookie: str = field(default="", repr=False)

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        cookie = (("Cookie", self.cookie),) if self.cookie else ()
        return (("Authorization", self.authorization), *cookie)

    async def refused(self, refusal: Refusal, ask: SendRequest) -> bool:
        """See Credential."""
        return False


@dataclass(frozen=True, slots=True)
class HostScoped:
    """`inner`, shown to `hosts` alone. A host is ``name`` (any port) or ``name:port``, in lower case; over plain http
    only where `plain_http` says so."""

    inner: Credential
    hosts: frozenset[str]
    plain_http: bool = False

    def may_see(self, url: str) -> bool:
        """Whether the server behind `url` is one that the credential is meant for."""
        return (self.plain_http or urlsplit(url).scheme == "https") and hosts_allow(self.hosts, url)

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return await self.inner.headers(url, method, fields) if self.may_see(url) else ()

    async def refused(self, refusal: Refusal, ask: SendRequest) -> bool:
        """See Credential."""
        return self.may_see(refusal.url) and await self.inner.refused(refusal, ask)


def bearer(token: str) -> StaticCredential:
    """A bearer token (RFC 6750 section 2.1)."""
    return StaticCredential(f"Bearer {token}")


def session(token: str) -> StaticCredential:
    """A ModelScope token: some of its servers read the bearer token, older ones the session's cookie, as modelscope_hub
    0.5.1 knows (`_legacy_api._ensure_session_auth`)."""
    return StaticCredential(f"Bearer {token}", f"m_session_id={token}")


def basic(username: str, password: str) -> StaticCredential:
    """User and password (RFC 7617)."""
    return StaticCredential("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())


def of_secret(data: Mapping[str, str]) -> Credential | None:
    """The credential in a Secret's keys: ``token``, or ``username`` and ``password``; None where there is neither."""
    if token := data.get("token"):
        return bearer(token)
    if "username" in data and "password" in data:
        return basic(data["username"], data["password"])
    return None


def hosts_allow(hosts: frozenset[str], url: str) -> bool:
    """Whether the server behind `url` is among `hosts` (as HostScoped has them)."""
    host, port = server_of(url)
    return host in hosts or f"{host}:{port}" in hosts


def hosts_of(text: str) -> frozenset[str]:
    """The hosts in a Secret's key ``allowedHosts``, separated by commas or white space."""
    return frozenset(text.replace(",", " ").lower().split())
