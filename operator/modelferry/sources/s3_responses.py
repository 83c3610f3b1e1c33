"""Responses of S3: pages of a listing, an object's version and checksum, and errors. Pure.

Amazon S3 API Reference: ListObjectsV2, HeadObject, "Error responses".
"""

from __future__ import annotations

import base64
import binascii
import re
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
from modelferry.values.spec_lines import add_auth

#: Storage classes whose objects must be restored before they can be read.
_ADD_KEYS = add_auth("accessKeyID and secretAccessKey")
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object in a listing: its key, and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing; ``next``: the token to request the next part with, empty at the end."""

    objects: tuple[ListedObject, ...]
    next: str


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object's version (empty: the bucket keeps none), its SHA-256 if the store has it, and its strong ETag.

    The ETag is never used as an MD5: it is one only if the object was uploaded in one part and is not encrypted by KMS,
    and no response says that (decision 20).
    """

    version: str
    digest: Digest | None
    etag: str


def parse_page(body: bytes) -> Page:
    """A part of a listing that was requested with ``encoding-type=url``, which some stores ignore. Raises ValueError
    where it is not one."""
    root = _xml(body)
    if root is None or root.tag.rpartition("}")[2] != "ListBucketResult":
        raise ValueError("it is not a ListBucketResult")
    quoted = (root.findtext("{*}EncodingType") or "").strip().lower() == "url"
    objects = tuple(_listed(item, quoted) for item in root.findall("{*}Contents"))
    more = root.findtext("{*}IsTruncated") == "true"
    token = root.findtext("{*}NextContinuationToken") or ""
    if more and not token:
        raise ValueError("it is truncated, but has no NextContinuationToken")
    return Page(objects, token if more else "")


def object_facts(head: Head, where: str) -> ObjectFacts:
    """Read the response to a HeadObject with x-amz-checksum-mode. Raises InvalidSpec for an archived object."""
    fields = head.headers
    storage = fields.get("x-amz-storage-class", "")
    if storage in _ARCHIVED and 'ongoing-request="false"' not in fields.get("x-amz-restore", ""):
        raise InvalidSpec(f"{where} is archived ({storage}); restore it, or exclude it", reason="Archived")
    version = fields.get("x-amz-version-id", "")
    return ObjectFacts(
        "" if version == "null" else version,  # "null": versioning is suspended, and the next upload replaces it
        _sha256(fields.get("x-amz-checksum-sha256", ""), fields.get("x-amz-checksum-type", "FULL_OBJECT")),
        head.version_mark,
    )


def listing_error(source: S3Source, head: Head, body: bytes) -> ModelferryError | None:
    """The error that a response of 300 and more to a listing means; None where `SourceClient` names it."""
    root = _xml(body)
    code = _word((root.findtext("{*}Code") or "") if root is not None else "")
    message = " ".join(((root.findtext("{*}Message") or "") if root is not None else "").split())[:160]
    # The remedy needs it, so it is the one field whose value is shown, if it looks like a region.
    region = _word(head.headers.get("x-amz-bucket-region") or (root.findtext("{*}Region") if root is not None else ""))
    server = urlsplit(source.base).netloc
    where = f"s3: {server}: {head}{f' {code}' if code else ''}"
    match code:
        case "NoSuchBucket":
            return NotFound(f"{where}: there is no bucket {source.bucket!r}; correct bucket", reason="BucketMissing")
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" | "InvalidClientTokenId":
            remedy = "correct accessKeyID and secretAccessKey (and sessionToken) in spec.auth's Secret"
            return Denied(f"{where}: the keys are not accepted; {remedy}", reason="BadCredentials")
        case "RequestTimeTooSkewed":
            return Denied(
                f"{where}: this machine's clock and the server's differ too much; set this machine's clock",
                reason="ClockSkew",
            )
        case "InvalidBucketName":
            return InvalidSpec(
                f"{where}: spec.source.s3.bucket: {source.bucket!r} is not a valid bucket name there; correct it"
            )
        case "AccessDenied" | "AllAccessDisabled":
            return Denied(
                f"{where}: denied access to the listing; allow s3:ListBucket on bucket {source.bucket!r} to the keys of"
                f" spec.auth (without any, {_ADD_KEYS}, or allow it to everyone)"
            )
    wrong_region = region and region != source.region
    if wrong_region and (head.status in (301, 307, 400) or code == "AuthorizationHeaderMalformed"):
        return InvalidSpec(
            f"{where}: bucket {source.bucket!r} is in {region}; set spec.source.s3.region: {region}",
            reason="WrongRegion",
        )
    if head.status in (408, 429) or head.status >= 500 or (head.status < 400 and "location" in head.headers):
        return None
    remedy = "check endpoint, style and bucket"
    if urlsplit(source.endpoint).path.endswith(f"/{source.bucket}"):
        remedy = f"endpoint ends with the bucket's name, which is added to it: remove {source.bucket!r} from endpoint"
    return ServerMisbehaves(f"{where}: {message or 'no message'}; {remedy}")


def object_error(source: S3Source, key: str, head: Head) -> ModelferryError | None:
    """The same for HeadObject, whose responses have no body."""
    where = f"{key}: s3: {urlsplit(source.base).netloc}: {head}"
    match head.status:
        case 401 | 403:
            actions = "s3:GetObject (with a KMS key also kms:Decrypt)"
            return Denied(
                f"{where}: allow {actions} on it to the keys of spec.auth (without any, {_ADD_KEYS}, or allow it to"
                " everyone)",
                file=key,
            )
        case 400:
            return ServerMisbehaves(
                f"{where}: an object that is encrypted with a customer's key (SSE-C) cannot be read; exclude it",
                file=key,
            )
    return None


def _word(text: str | None) -> str:
    """`text`, if it is a short word, such as an error's code or a region; else empty."""
    return text if text and re.fullmatch(r"[A-Za-z0-9-]{1,64}", text) else ""


def _xml(body: bytes) -> ElementTree.Element | None:
    """XML without a document type: entity declarations are how a small response becomes a large one."""
    try:
        text = body.decode()
        return None if "<!DOCTYPE" in text else ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError):
        return None


def _listed(item: ElementTree.Element, quoted: bool) -> ListedObject:
    key, size = item.findtext("{*}Key"), item.findtext("{*}Size") or ""
    if not key or not size.isascii() or not size.isdigit():
        raise ValueError("an object in it has no key or no size")
    return ListedObject(unquote_plus(key) if quoted else key, int(size))


def _sha256(value: str, kind: str) -> Digest | None:
    """A composite checksum, of the parts' checksums, is not the file's digest; it ends with their number."""
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    return Digest("sha256", raw.hex()) if kind == "FULL_OBJECT" and len(raw) == 32 else None
