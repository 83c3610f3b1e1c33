"""Credentials of registries: the token that a registry's challenge asks for, with a login or anonymously.

Distribution, "Token Authentication Specification": a 401 carries ``WWW-Authenticate: Bearer realm=…,service=…,
scope=…``; a GET of the realm, with Basic credentials or none, returns a token that is valid for some minutes. Other
registries ask for Basic itself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from modelferry.errors import ConnectionFailed, Denied
from modelferry.http.auth.credentials import (
    HeaderFields,
    Rejection,
    SendRequest,
    StaticCredential,
    basic,
    control_error,
    hosts_allow,
    username_error,
    without_editor_marks,
)
from modelferry.values.spec_lines import add_auth
from modelferry.values.untrusted_json import parse_json
from modelferry.values.urls import redact_url, url_error

#: ``scheme name="value", …`` (RFC 9110 section 11.3), with white space around the equals sign as section 11.2 allows;
#: a comma may separate it from another challenge. Possessive: a server must not make this slow.
_PARAMETER = r"[\w-]++\s*+=\s*+(?:\"(?:[^\"\\]|\\.)*+\"|[^\s,\"]++)"
_CHALLENGE = re.compile(rf"\b(?P<scheme>Bearer|Basic)\s++(?P<fields>(?:{_PARAMETER}\s*+(?:,\s*+)?)++)", re.IGNORECASE)
_FIELD = re.compile(r"([\w-]++)\s*+=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s,\"]++))")
_ESCAPED = re.compile(r"\\(.)")


class RegistryToken:
    """Anonymous at first; what the registry's challenge asks for afterwards.

    `login`: user and password, or None. It is sent to the token server that the registry names, as Docker does; where
    `hosts` is not empty, only if the server is among them. Over plain http only if `plain_http` allows it.
    """

    def __init__(
        self, login: StaticCredential | None, *, hosts: frozenset[str] = frozenset(), plain_http: bool = False
    ) -> None:
        self._login, self._hosts, self._plain_http = login, hosts, plain_http
        self._fields: HeaderFields = ()
        self._lock = asyncio.Lock()

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return self._fields

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """See Credential. Raises Denied where the token server refuses, ConnectionFailed where it is down."""
        async with self._lock:
            if self._fields != rejection.sent:
                return True  # renewed meanwhile, for another request
            challenges = parse_challenges(rejection.challenge)
            if bearer := challenges.get("bearer"):
                self._fields = (("Authorization", f"Bearer {await self._request_token(bearer, send)}"),)
                return True
            if "basic" in challenges and self._login and not rejection.sent:
                self._fields = await self._login.headers(rejection.url)
                return True
            return False

    async def _request_token(self, challenge: Mapping[str, str], send: SendRequest) -> str:
        realm = challenge.get("realm", "")
        if url_error(realm) or not (self._plain_http or realm.startswith("https:")):
            raise Denied(
                f"the registry names a token server that may not be used: {redact_url(realm)}; ask its operator"
            )
        login: HeaderFields = ()
        if self._login:
            if self._hosts and not hosts_allow(self._hosts, realm):
                raise Denied(
                    f"the registry sends its clients to {redact_url(realm)}, which the Secret's key allowedHosts does"
                    " not list; add its host, so that the password may be sent there"
                )
            login = await self._login.headers(realm)
        query = urlencode({name: challenge[name] for name in ("service", "scope") if name in challenge})
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}"
        status, body = await send(url, (("Accept", "application/json"), *login), b"")
        if status >= 500 or status == 429:
            raise ConnectionFailed(f"token server {redact_url(realm)} answered {status}")
        if status != 200:
            remedy = "correct user and password in spec.auth's Secret" if login else add_auth("username and password")
            raise Denied(f"token server {redact_url(realm)} answered {status}; {remedy}", reason="BadCredentials")
        return _token_in(body, realm)


def parse_challenges(header: str) -> dict[str, dict[str, str]]:
    """The fields of each challenge in a WWW-Authenticate, by its scheme in lower case. Pure."""
    return {
        match["scheme"].lower(): {
            name.lower(): _ESCAPED.sub(r"\1", quoted) or bare for name, quoted, bare in _FIELD.findall(match["fields"])
        }
        for match in _CHALLENGE.finditer(header)
    }


def docker_login(config: str, host: str) -> StaticCredential | None:
    """User and password for `host` in a Docker config.json (a Secret's .dockerconfigjson); None where it has none.

    Raises ValueError where it is not a config.json.
    """
    document = parse_json(config)
    auths = document.get("auths") if isinstance(document, dict) else None
    if not isinstance(auths, dict):
        raise ValueError("has no auths")
    for name, entry in auths.items():
        if _registry_of(name) == host and isinstance(entry, dict):
            return _login(entry)
    return None


def _registry_of(name: str) -> str:
    """The host that a key of auths names: some are URLs, and Docker Hub's is the one of its old index."""
    host = name.partition("://")[2] or name
    host = host.partition("/")[0].lower()
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host


def _login(entry: Mapping[str, Any]) -> StaticCredential | None:
    user, password = entry.get("username"), entry.get("password")
    if isinstance(entry.get("auth"), str) and not password:
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("has an auth that is not base64 of user:password") from error
    if not isinstance(user, str) or not isinstance(password, str) or not user:
        return None
    user, password = without_editor_marks(user), without_editor_marks(password)
    if why := username_error(user) or control_error(password):
        raise ValueError(f"has a user or password that {why}")
    return basic(user, password)


def _token_in(body: bytes, realm: str) -> str:
    try:
        answer = parse_json(body)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError):
        token = None
    # A token is sent on as a field of a request: it must be one word (RFC 6750 section 2.1).
    if not isinstance(token, str) or not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII):
        raise Denied(f"token server {redact_url(realm)} answered without a token; ask its operator")
    return token
