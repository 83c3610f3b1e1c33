"""Credentials of registries: the token that a registry sends its clients for, and who they are (or nobody).

Distribution, "Token Authentication Specification": a 401 carries ``WWW-Authenticate: Bearer realm=…,service=…,
scope=…``; a GET of the realm, with Basic credentials or none, brings a token that lives some minutes. Registries
without that ask for Basic itself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from modelferry.errors import ConnectionFailed, Denied
from modelferry.http.auth.credentials import HeaderFields, Refusal, SendRequest, StaticCredential, basic, hosts_allow
from modelferry.values.urls import redact_url, url_error

#: ``scheme name="value", …`` (RFC 9110 section 11.3); a comma may separate it from another challenge.
_CHALLENGE = re.compile(
    r"\b(?P<scheme>Bearer|Basic)\s+(?P<fields>(?:[\w-]+=(?:\"[^\"]*\"|[^\s,]+)\s*,?\s*)+)", re.IGNORECASE
)
_FIELD = re.compile(r"([\w-]+)=(?:\"([^\"]*)\"|([^\s,]+))")


class RegistryToken:
    """Nobody at first; what the registry's challenge asks for after it.

    `login`: user and password, or None. It is sent to the token server that the registry names, as Docker does; where
    `hosts` is not empty, only if it is among them. Never over plain http, but where `plain_http` says so.
    """

    def __init__(
        self, login: StaticCredential | None, *, hosts: frozenset[str] = frozenset(), plain_http: bool = False
    ) -> None:
        self._login, self._hosts, self._plain_http = login, hosts, plain_http
        self._shown: HeaderFields = ()
        self._lock = asyncio.Lock()

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return self._shown

    async def refused(self, refusal: Refusal, ask: SendRequest) -> bool:
        """See Credential. Raises Denied where the token server refuses, ConnectionFailed where it is down."""
        async with self._lock:
            if self._shown != refusal.shown:
                return True  # Renewed since, for another request.
            challenges = challenges_of(refusal.challenge)
            if bearer := challenges.get("bearer"):
                self._shown = (("Authorization", f"Bearer {await self._token(bearer, ask)}"),)
                return True
            if "basic" in challenges and self._login and not refusal.shown:
                self._shown = await self._login.headers(refusal.url)
                return True
            return False

    async def _token(self, challenge: Mapping[str, str], ask: SendRequest) -> str:
        realm = challenge.get("realm", "")
        if url_error(realm) or not (self._plain_http or realm.startswith("https:")):
            raise Denied(f"the registry names a token server that cannot be asked: {redact_url(realm)}")
        named: HeaderFields = ()
        if self._login:
            if self._hosts and not hosts_allow(self._hosts, realm):
                raise Denied(
                    f"the registry sends its clients to {redact_url(realm)}, which the Secret's key allowedHosts does"
                    " not list; add its host, so that it may see the password"
                )
            named = await self._login.headers(realm)
        query = urlencode({name: challenge[name] for name in ("service", "scope") if name in challenge})
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}"
        status, body = await ask(url, (("Accept", "application/json"), *named), b"")
        if status >= 500 or status == 429:
            raise ConnectionFailed(f"token server {redact_url(realm)} answered {status}")
        if status != 200:
            way_out = (
                "correct user and password in spec.auth's Secret" if named else "give user and password by spec.auth"
            )
            raise Denied(f"token server {redact_url(realm)} answered {status}; {way_out}", reason="BadCredentials")
        return _token_in(body, realm)


def challenges_of(header: str) -> dict[str, dict[str, str]]:
    """The fields of each challenge in a WWW-Authenticate, by its scheme in lower case. Pure."""
    return {
        match["scheme"].lower(): {
            name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(match["fields"])
        }
        for match in _CHALLENGE.finditer(header)
    }


def login_in(config: str, host: str) -> StaticCredential | None:
    """Who a Docker config.json (a Secret's .dockerconfigjson) says to be at `host`; None where it says nothing.

    Raises ValueError where it is none.
    """
    document = json.loads(config)
    auths = document.get("auths") if isinstance(document, dict) else None
    if not isinstance(auths, dict):
        raise ValueError("has no auths")
    for name, entry in auths.items():
        if _registry_of(name) == host and isinstance(entry, dict):
            return _login(entry)
    return None


def _registry_of(name: str) -> str:
    """The host that a key of auths means: some are URLs, and Docker Hub's is the one of its old index."""
    host = name.partition("://")[2] or name
    host = host.partition("/")[0].lower()
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host


def _login(entry: Mapping[str, Any]) -> StaticCredential | None:
    user, password = entry.get("username"), entry.get("password")
    if isinstance(entry.get("auth"), str) and not password:
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("has an auth that is no base64 of user:password") from error
    return basic(user, password) if isinstance(user, str) and isinstance(password, str) and user else None


def _token_in(body: bytes, realm: str) -> str:
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError):
        token = None
    # A token is sent on as a field of a request: it must be one word (RFC 6750 section 2.1).
    if not isinstance(token, str) or not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII):
        raise Denied(f"token server {redact_url(realm)} answered without a token; ask its operator")
    return token
