"""Credentials of S3: keys, and the web identity of a pod that Amazon's token service gives temporary keys for."""

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
from modelferry.http.auth.credentials import HeaderFields, Refusal, SendRequest
from modelferry.http.auth.sigv4 import Keys
from modelferry.values.urls import redact_url

#: Tells the time, in UTC.
Clock = Callable[[], datetime]

#: Keys are renewed when they have this left: more than a request may wait for its answer.
_RESERVE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Signed:
    """Signs each request by `keys` (net.sigv4)."""

    keys: Keys
    region: str
    clock: Clock

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        return sigv4.signed(url, self.keys, region=self.region, now=self.clock(), method=method, fields=fields)

    async def refused(self, refusal: Refusal, ask: SendRequest) -> bool:
        """See Credential."""
        return False


@dataclass(frozen=True, slots=True)
class Role:
    """What a pod is given by IRSA and its kin: ``arn`` of the role, the file of its token, the token service's URL."""

    arn: str
    token_file: Path
    service: str


class WebIdentity:
    """Signs by temporary keys of `role` (STS AssumeRoleWithWebIdentity), which are asked for when they are missed.

    Without keys, or with those that have run out, a request goes unsigned; its refusal brings the next ones.
    """

    def __init__(self, role: Role, region: str, clock: Clock) -> None:
        self._role, self._region, self._clock = role, region, clock
        self._keys: Keys | None = None
        self._expires: datetime | None = None
        self._lock = asyncio.Lock()

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        if not self._keys or not self._lasting:
            return ()
        return sigv4.signed(url, self._keys, region=self._region, now=self._clock(), method=method, fields=fields)

    async def refused(self, refusal: Refusal, ask: SendRequest) -> bool:
        """See Credential. Raises Denied where the token service gives no keys, ConnectionFailed where it is down."""
        if refusal.shown:
            return False
        async with self._lock:
            if not self._lasting:
                await self._renew(ask)
        return True

    @property
    def _lasting(self) -> bool:
        return self._expires is not None and self._clock() < self._expires - _RESERVE

    async def _renew(self, ask: SendRequest) -> None:
        role = self._role
        try:
            token = await asyncio.to_thread(role.token_file.read_text)
        except OSError as error:
            raise Denied(
                f"web identity: {role.token_file}: {error.strerror}; the service account's role needs its webhook"
            ) from error
        query = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": role.arn,
            "RoleSessionName": "modelferry",
            "WebIdentityToken": token.strip(),
        }
        status, body = await ask(f"{role.service}/", (("Accept", "application/xml"),), urlencode(query).encode())
        if status >= 500 or status == 429:
            raise ConnectionFailed(f"token service {redact_url(role.service)} answered {status}")
        if status != 200:
            raise Denied(
                f"web identity: {redact_url(role.service)} gives {role.arn} no keys ({status} {_text(body, 'Code')}):"
                " let the role trust this service account"
            )
        try:
            self._expires = datetime.fromisoformat(_text(body, "Expiration"))
        except ValueError:
            raise Denied(
                f"web identity: {redact_url(role.service)} answered without keys; check the service's URL"
            ) from None
        self._keys = Keys(_text(body, "AccessKeyId"), _text(body, "SecretAccessKey"), _text(body, "SessionToken"))


def _text(body: bytes, name: str) -> str:
    """The text of the first element `name`; empty where there is none. Not by a parser: what is looked for holds no
    markup, and the fetching process shall not carry one for it."""
    match = re.search(rf"<{name}>([^<&]*)</{name}>", body.decode(errors="replace"))
    return match[1] if match else ""
