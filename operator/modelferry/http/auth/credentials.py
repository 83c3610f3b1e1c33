"""Credentials, and the hosts that they may be sent to.

A credential returns the fields for one URL, the very one that is about to be requested, at every hop. So one that is
`HostScoped` cannot follow a redirect to another host, whoever redirects there.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from modelferry.values.urls import host_port, server_of

#: Header fields of one request, in order.
HeaderFields = tuple[tuple[str, str], ...]

#: GETs a URL with these fields and no credential, or POSTs a form (URL-encoded) where that is not empty; returns status
#: and body, of at most `MAX_RESPONSE` bytes. The client passes it to a credential, so that the credential's own
#: requests take the same route: the same proxy, the same trusted certificates. Raises what a request raises.
SendRequest = Callable[[str, HeaderFields, bytes], Awaitable[tuple[int, bytes]]]
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_RESPONSE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rejection:
    """A request was answered by 401 or 403, with ``challenge`` (WWW-Authenticate, or empty), although it carried the
    fields ``sent`` of this credential."""

    url: str
    challenge: str
    sent: HeaderFields = field(default=(), repr=False)


class Credential(Protocol):
    """Authenticates requests. Its `repr` never contains its secret."""

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """The fields for a request for `url`; none where the credential is not meant for `url`. `fields`: what else the
        request carries, since a signature may have to cover it."""

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """Whether the request may succeed if it is sent again, because the credential was renewed; it may use `send`
        for that."""


async def renewed(credential: Credential, rejection: Rejection, status: int, send: SendRequest) -> bool:
    """Whether a request that was answered by `status` is to be sent once more, with the renewed `credential`."""
    return status in (401, 403) and await credential.renew(rejection, send)


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Sends no credential."""

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return ()

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """See Credential."""
        return False


ANONYMOUS = Anonymous()


@dataclass(frozen=True, slots=True)
class StaticCredential:
    """An Authorization field that is the same for each request (RFC 9110 section 11.6.2), and a Cookie if there is
    one."""

    authorization: str = field(repr=False)
    cookie: str = field(default="", repr=False)

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        cookie = (("Cookie", self.cookie),) if self.cookie else ()
        return (("Authorization", self.authorization), *cookie)

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """See Credential."""
        return False


@dataclass(frozen=True, slots=True)
class HostScoped:
    """`inner`, sent to `hosts` alone. A host is ``name`` (any port) or ``name:port``, in lower case. Over plain http
    only if `plain_http` allows it."""

    inner: Credential
    hosts: frozenset[str]
    plain_http: bool = False

    def allows(self, url: str) -> bool:
        """Whether the credential may be sent to the server of `url`."""
        return may_see(self.hosts, url, plain_http=self.plain_http)

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return await self.inner.headers(url, method, fields) if self.allows(url) else ()

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """See Credential."""
        return self.allows(rejection.url) and await self.inner.renew(rejection, send)


def bearer(token: str) -> StaticCredential:
    """A bearer token (RFC 6750 section 2.1)."""
    return StaticCredential(f"Bearer {token}")


def modelscope_session(token: str) -> StaticCredential:
    """A ModelScope token: some of its servers read the bearer token, older ones the session's cookie, as modelscope_hub
    0.5.1 does it (`_legacy_api._ensure_session_auth`)."""
    return StaticCredential(f"Bearer {token}", f"m_session_id={token}")


def basic(username: str, password: str) -> StaticCredential:
    """User and password (RFC 7617)."""
    return StaticCredential("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())


def without_editor_marks(text: str) -> str:
    """`text` without what editors, shells and clipboards add around it: byte order marks, white space, line ends."""
    before = None
    while before != text:
        before, text = text, text.strip().strip("\ufeff\u200b")
    return text


def word_error(text: str) -> str | None:
    """Why a header field cannot carry `text` as it is, as the end of a sentence; None where it can."""
    if not text.isascii():
        return "has a character that is not ASCII"
    return control_error(text)


def username_error(text: str) -> str | None:
    """The same for the user name of Basic, which may have any letter, but no colon (RFC 7617 section 2)."""
    return "has a colon, which a user name may not have" if ":" in text else control_error(text)


def control_error(text: str) -> str | None:
    """The same for control characters, which a password may not have either (RFC 7617 section 2)."""
    if any(letter in text for letter in "\r\n"):
        return "has a line end within the value"
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text):
        return "has a control character"
    return None


def hosts_allow(hosts: frozenset[str], url: str) -> bool:
    """Whether the server of `url` is among `hosts` (as in `HostScoped`). An IPv6 address is written as in a URL, in
    brackets, or alone without them."""
    host, port = server_of(url)
    return not hosts.isdisjoint({host, f"[{host}]", host_port(host, port)})


def may_see(hosts: frozenset[str], url: str, *, plain_http: bool) -> bool:
    """Whether what is meant for `hosts` may be sent in a request for `url`; over plain http only if that is allowed."""
    return (plain_http or urlsplit(url).scheme == "https") and hosts_allow(hosts, url)


def parse_hosts(text: str) -> frozenset[str]:
    """The hosts in a Secret's key ``allowedHosts``, separated by commas or white space."""
    return frozenset(text.replace(",", " ").lower().split())
