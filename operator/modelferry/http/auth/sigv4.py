"""AWS Signature Version 4 for requests without a body, as S3 requires it. Pure: the time is an argument.

Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)". Not by botocore, which costs the
fetching process more memory than all its connections; decision 20.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from modelferry.http.auth.credentials import HeaderFields
from modelferry.values.urls import DEFAULT_PORTS

#: Seconds that a presigned URL may live (API Reference, X-Amz-Expires).
MAX_EXPIRY = 7 * 24 * 3600

_ALGORITHM = "AWS4-HMAC-SHA256"
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key: its id, its secret, and the session token of temporary ones."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def sign(
    url: str, keys: Keys, *, region: str, now: datetime, method: str = "GET", fields: HeaderFields = ()
) -> HeaderFields:
    """The fields that sign a request for `url` at `now` (UTC). `fields`: what else it carries, which is signed too."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    ours = [("x-amz-content-sha256", _EMPTY), ("x-amz-date", stamp)]
    ours += [("x-amz-security-token", keys.token)] if keys.token else []
    headers = {name.lower(): " ".join(value.split()) for name, value in (("host", _host(url)), *ours, *fields)}
    request = _canonical(method, url, parse_qsl(urlsplit(url).query, keep_blank_values=True), headers, _EMPTY)
    scope = _scope(region, stamp)
    signature = _signature(keys, scope, stamp, request)
    values = f"Credential={keys.id}/{scope},SignedHeaders={';'.join(sorted(headers))},Signature={signature}"
    return (*ours, ("Authorization", f"{_ALGORITHM} {values}"))


def presign(url: str, keys: Keys, *, region: str, now: datetime, expires: int) -> str:
    """`url` with a query that allows anyone to GET it from `now` (UTC) for `expires` seconds, 1 to MAX_EXPIRY.

    Raises ValueError where `expires` is outside of that.
    """
    if not 1 <= expires <= MAX_EXPIRY:
        raise ValueError(f"a presigned URL lives 1 to {MAX_EXPIRY} seconds, not {expires}")
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = _scope(region, stamp)
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    query += [
        ("X-Amz-Algorithm", _ALGORITHM),
        ("X-Amz-Credential", f"{keys.id}/{scope}"),
        ("X-Amz-Date", stamp),
        ("X-Amz-Expires", str(expires)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    query += [("X-Amz-Security-Token", keys.token)] if keys.token else []
    request = _canonical("GET", url, query, {"host": _host(url)}, "UNSIGNED-PAYLOAD")
    signed = f"{_encoded(query)}&X-Amz-Signature={_signature(keys, scope, stamp, request)}"
    return urlsplit(url)._replace(query=signed, fragment="").geturl()


def object_path(key: str) -> str:
    """An object's key as a URL's path, in the one encoding that signatures are computed over."""
    return quote(key, safe="/-_.~")


def _canonical(method: str, url: str, query: list[tuple[str, str]], headers: dict[str, str], payload: str) -> str:
    path = object_path(unquote(urlsplit(url).path)) or "/"
    lines = [f"{name}:{headers[name]}\n" for name in sorted(headers)]
    return "\n".join((method, path, _encoded(query), "".join(lines), ";".join(sorted(headers)), payload))


def _encoded(query: list[tuple[str, str]]) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _scope(region: str, stamp: str) -> str:
    return f"{stamp[:8]}/{region}/s3/aws4_request"


def _signature(keys: Keys, scope: str, stamp: str, request: str) -> str:
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{keys.secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def _host(url: str) -> str:
    """The Host field's value (RFC 9110 section 7.2)."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"
