"""What a bucket answers: pages of a listing, the facts of an object, and errors. Pure.

Amazon S3 API Reference: ListObjectsV2, HeadObject, "Error responses".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlsplit
from xml.etree import ElementTree

from modelferry.errors import (
    Denied,
    InvalidSpec,
    ModelferryError,
    NotFound,
    ServerMisbehaves,
)
from modelferry.manifest import Digest
from modelferry.resource.object_stores import S3Source
from modelferry.sources.source_client import Head

#: Storage classes whose objects must be brought back before they can be read.
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing: its key, and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing; ``next``: the token that the next part is asked for with, empty at the end."""

    objects: tuple[Listed, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Facts:
    """An object's version (empty: the bucket keeps none), its SHA-256 where the store knows it, and its strong ETag.

    The ETag is never taken for an MD5: it is one only of what was uploaded in one part and not encrypted by KMS, and
    which that is, no answer says (decision 20).
    """

    version: str
    digest: Digest | None
    etag: str


def page_of(body: bytes) -> Page:
    """A part of a listing that was asked for with ``encoding-type=url``. Raises ValueError where it is none."""
    root = _xml(body)
    if root is None or root.tag.rpartition("}")[2] != "ListBucketResult":
        raise ValueError("it is not a ListBucketResult")
    objects = tuple(_listed(item) for item in root.findall("{*}Contents"))
    more = root.findtext("{*}IsTruncated") == "true"
    token = root.findtext("{*}NextContinuationToken") or ""
    if more and not token:
        raise ValueError("it goes on, and does not say where")
    return Page(objects, token if more else "")


def facts_of(head: Head, where: str) -> Facts:
    """What the answer to a HeadObject with x-amz-checksum-mode says. Raises InvalidSpec of an archived object."""
    fields = head.headers
    storage = fields.get("x-amz-storage-class", "")
    if storage in _ARCHIVED and 'ongoing-request="false"' not in fields.get("x-amz-restore", ""):
        raise InvalidSpec(f"{where} is archived ({storage}); restore it, or exclude it", reason="Archived")
    version = fields.get("x-amz-version-id", "")
    return Facts(
        "" if version == "null" else version,  # "null": versioning is suspended, and the next upload replaces it
        _sha256(fields.get("x-amz-checksum-sha256", ""), fields.get("x-amz-checksum-type", "FULL_OBJECT")),
        head.validator,
    )


def error_of(source: S3Source, head: Head, body: bytes) -> ModelferryError | None:
    """What an answer of 300 and more says about the artifact, with the way out; None where the client knows better."""
    root = _xml(body)
    code = (root.findtext("{*}Code") or "") if root is not None else ""
    told = " ".join(((root.findtext("{*}Message") or "") if root is not None else "").split())[:160]
    region = head.headers.get("x-amz-bucket-region") or (root.findtext("{*}Region") if root is not None else "") or ""
    server = urlsplit(source.base).netloc
    where = f"s3: {server}: {head}{f' {code}' if code else ''}"
    match code:
        case "NoSuchBucket":
            return NotFound(f"{where}: there is no bucket {source.bucket!r}; correct bucket", reason="BucketMissing")
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" | "InvalidClientTokenId":
            way_out = "correct accessKeyID and secretAccessKey (and sessionToken) in spec.auth's Secret"
            return Denied(f"{where}: the keys are not accepted; {way_out}", reason="BadCredentials")
        case "RequestTimeTooSkewed":
            date = head.headers.get("date", "unknown")
            return Denied(f"{where}: the server's clock says {date}; set this machine's clock", reason="ClockSkew")
        case "InvalidBucketName":
            return InvalidSpec(f"{where}: spec.source.s3.bucket: {source.bucket!r} is no bucket's name there")
        case "AccessDenied" | "AllAccessDisabled":
            return Denied(
                f"{where}: the listing is refused; allow s3:ListBucket on bucket {source.bucket!r} to the keys of"
                " spec.auth (without any: to everybody)"
            )
    elsewhere = region and region != source.region
    if elsewhere and (head.status in (301, 307, 400) or code == "AuthorizationHeaderMalformed"):
        return InvalidSpec(
            f"{where}: bucket {source.bucket!r} is in {region}; set spec.source.s3.region: {region}",
            reason="WrongRegion",
        )
    if head.status in (408, 429) or head.status >= 500 or (head.status < 400 and "location" in head.headers):
        return None
    return ServerMisbehaves(f"{where}: {told or 'no more is said'}; check endpoint, style and bucket")


def object_error(source: S3Source, key: str, head: Head) -> ModelferryError | None:
    """The same for HeadObject, whose answers have no body."""
    where = f"{key}: s3: {urlsplit(source.base).netloc}: {head}"
    match head.status:
        case 401 | 403:
            actions = "s3:GetObject (with a KMS key also kms:Decrypt)"
            return Denied(
                f"{where}: allow {actions} on it to the keys of spec.auth (without any: to everybody)", file=key
            )
        case 400:
            return ServerMisbehaves(f"{where}: an object with a key of the customer's (SSE-C) cannot be read", file=key)
    return None


def _xml(body: bytes) -> ElementTree.Element | None:
    """XML without a document type: a declaration of entities is how a small answer becomes a large one."""
    try:
        text = body.decode()
        return None if "<!DOCTYPE" in text else ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError):
        return None


def _listed(item: ElementTree.Element) -> Listed:
    key, size = item.findtext("{*}Key"), item.findtext("{*}Size") or ""
    if not key or not size.isascii() or not size.isdigit():
        raise ValueError("an object in it has no key or no size")
    return Listed(unquote_plus(key), int(size))


def _sha256(value: str, kind: str) -> Digest | None:
    """A composite checksum, of the parts' checksums, says nothing about the whole; it ends with their number."""
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    return Digest("sha256", raw.hex()) if kind == "FULL_OBJECT" and len(raw) == 32 else None
