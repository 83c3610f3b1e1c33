"""What a request must carry to be let in, and to whom it may be shown.

A credential is asked for its fields with the very URL that is about to be requested, at every hop. So one that is
`Guarded` cannot follow a redirect to another host, whoever sends it there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

#: Header fields of one request, in order.
HeaderFields = tuple[tuple[str, str], ...]


class Credential(Protocol):
    """One way of being let in. It never shows its secret in `repr`."""

    async def headers(self, url: str) -> HeaderFields:
        """The fields for a GET of `url`; none where `url` is no business of this credential."""

    async def refused(self, url: str, challenge: str) -> bool:
        """`url` was answered by 401 or 403, with `challenge` (WWW-Authenticate, or empty). True where another try may
        succeed, since what is shown has been renewed."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """Asks without any credential."""

    async def headers(self, url: str) -> HeaderFields:
        """See Credential."""
        return ()

    async def refused(self, url: str, challenge: str) -> bool:
        """See Credential."""
        return False


NOBODY = Nobody()


@dataclass(frozen=True, slots=True)
class Fixed:
    """An Authorization field that is the same for each request (RFC 9110 section 11.6.2), and a Cookie where there is
    one."""

    authorization: str = field(repr=False)
    cookie: str = field(default="", repr=False)

    async def headers(self, url: str) -> HeaderFields:
        """See Credential."""
        fields: HeaderFields = (("Authorization", self.authorization),)
        return (*fields, ("Cookie", self.cookie)) if self.cookie else fields

    async def refused(self, url: str, challenge: str) -> bool:
        """See Credential."""
        return False


@dataclass(frozen=True, slots=True)
class Guarded:
    """`inner`, shown to `hosts` alone. A host is ``name`` (any port) or ``name:port``, in lower case; over plain http
    only where `plain_http` says so."""

    inner: Credential
    hosts: frozenset[str]
    plain_http: bool = False

    def may_see(self, url: str) -> bool:
        """Whether the server behind `url` is one that the credential is meant for."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        safe = parts.scheme == "https" or self.plain_http
        return safe and (host in self.hosts or f"{host}:{port}" in self.hosts)

    async def headers(self, url: str) -> HeaderFields:
        """See Credential."""
        return await self.inner.headers(url) if self.may_see(url) else ()

    async def refused(self, url: str, challenge: str) -> bool:
        """See Credential."""
        return self.may_see(url) and await self.inner.refused(url, challenge)


def bearer(token: str) -> Fixed:
    """A bearer token (RFC 6750 section 2.1)."""
    return Fixed(f"Bearer {token}")


def session(token: str) -> Fixed:
    """A ModelScope token: some of its servers read the bearer token, older ones the session's cookie, as modelscope_hub
    0.5.1 knows (`_legacy_api._ensure_session_auth`)."""
    return Fixed(f"Bearer {token}", f"m_session_id={token}")


def basic(username: str, password: str) -> Fixed:
    """User and password (RFC 7617)."""
    return Fixed("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())


def of_secret(data: Mapping[str, str]) -> Credential | None:
    """The credential in a Secret's keys: ``token``, or ``username`` and ``password``; None where there is neither."""
    if token := data.get("token"):
        return bearer(token)
    if "username" in data and "password" in data:
        return basic(data["username"], data["password"])
    return None


def hosts_of(text: str) -> frozenset[str]:
    """The hosts in a Secret's key ``allowedHosts``, separated by commas or white space."""
    return frozenset(text.replace(",", " ").lower().split())
