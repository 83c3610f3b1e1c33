"""Credentials of S3: keys, and the web identity of a pod, for which Amazon's token service issues temporary keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from modelferry.errors import ConnectionFailed, Denied
from modelferry.http.auth import sigv4
from modelferry.http.auth.credentials import HeaderFields, Rejection, SendRequest, without_editor_marks, word_error
from modelferry.http.auth.sigv4 import Keys
from modelferry.values.urls import redact_url

#: Returns the time, in UTC.
Clock = Callable[[], datetime]

#: Keys are renewed when they are valid for less than this: more than a request may wait for its response.
_RESERVE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class SigV4Credential:
    """Signs each request with `keys` (`auth.sigv4`)."""

    keys: Keys
    region: str
    clock: Clock

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return sigv4.sign(url, self.keys, region=self.region, now=self.clock(), method=method, fields=fields)

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """See Credential."""
        return False


@dataclass(frozen=True, slots=True)
class Role:
    """What IRSA and similar webhooks give a pod: ``arn`` of the role, its token's file, the token service's URL."""

    arn: str
    token_file: Path
    service: str


class WebIdentity:
    """Signs with temporary keys of `role` (STS AssumeRoleWithWebIdentity), which are requested when they are needed.

    Without keys, or with expired ones, a request is sent unsigned; after its rejection new keys are requested.
    """

    def __init__(self, role: Role, region: str, clock: Clock) -> None:
        self._role, self._region, self._clock = role, region, clock
        self._keys: Keys | None = None
        self._expires: datetime | None = None
        self._lock = asyncio.Lock()

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        if not self._keys or not self._valid:
            return ()
        return sigv4.sign(url, self._keys, region=self._region, now=self._clock(), method=method, fields=fields)

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """See Credential. Raises Denied where the token service issues no keys, ConnectionFailed where it is down."""
        if rejection.sent:
            return False
        async with self._lock:
            if not self._valid:
                await self._request_keys(send)
        return True

    @property
    def _valid(self) -> bool:
        return self._expires is not None and self._clock() < self._expires - _RESERVE

    async def _request_keys(self, send: SendRequest) -> None:
        role = self._role
        try:
            token = await asyncio.to_thread(role.token_file.read_text)
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise Denied(
                f"web identity: {role.token_file}: {cause}; check that the cluster's webhook mounts the"
                " service account's token"
            ) from error
        query = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": role.arn,
            "RoleSessionName": "modelferry",
            "WebIdentityToken": without_editor_marks(token),
        }
        status, body = await send(f"{role.service}/", (("Accept", "application/xml"),), urlencode(query).encode())
        if status >= 500 or status == 429:
            raise ConnectionFailed(f"token service {redact_url(role.service)} answered {status}")
        if status != 200:
            raise Denied(
                f"web identity: {redact_url(role.service)} gives {role.arn} no keys ({status}{_code(body)}):"
                " allow this service account in the role's trust policy"
            )
        words = [_text(body, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
        try:
            expires = datetime.fromisoformat(_text(body, "Expiration"))
        except ValueError:
            expires = None
        # They are sent on as fields of requests.
        if expires is None or expires.tzinfo is None or any(word_error(word) for word in words) or not all(words):
            raise Denied(f"web identity: {redact_url(role.service)} answered without keys; check the service's URL")
        self._keys, self._expires = Keys(*words), expires


def _code(body: bytes) -> str:
    """An error's code, after a space; empty where it is not one word."""
    code = _text(body, "Code")
    return f" {code}" if re.fullmatch(r"[A-Za-z]{1,64}", code) else ""


def _text(body: bytes, name: str) -> str:
    """The text of the first element `name`; empty where there is none. Without an XML parser: the text has no markup,
    and a parser would cost the fetching process memory."""
    match = re.search(rf"<{name}>([^<&]*)</{name}>", body.decode(errors="replace"))
    return match[1] if match else ""
