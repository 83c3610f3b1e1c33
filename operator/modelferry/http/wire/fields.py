"""Values of the header fields that decisions depend on. Each reader returns None for what it cannot read."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from modelferry.http.wire.behavior import ServerBehavior
from modelferry.http.wire.head import Head
from modelferry.http.wire.ratelimit import until_reset

#: Seconds that a Retry-After is clamped to: a busy server is left alone for at least one, and never for more than five
#: minutes, after which another request is cheap.
MIN_RETRY_AFTER, MAX_RETRY_AFTER = 1.0, 300.0

#: More decimal digits than any file's size has; longer ones are refused before they become a number.
_NUMBER = r"\d{1,18}"
_CONTENT_RANGE = re.compile(rf"bytes (?:({_NUMBER})-({_NUMBER})|\*|0--1(?=/0+$))/({_NUMBER}|\*)", re.IGNORECASE)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_WEAK_ETAG = re.compile(r'[Ww]/"[\x21\x23-\x7e\x80-\xff]*"')
_UNQUOTED_ETAG = re.compile(r"[\x21\x23-\x7e]{1,256}")
#: Characters, with the quotes, of an ETag that a manifest has.
_LONGEST_ETAG = 258
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHA256_ITEM = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")

#: Values of Content-Encoding that leave the bytes as they are. ``aws-chunked`` is the framing of an upload to S3, which
#: some stores keep as a property of the object.
_IDENTITY = {"", "identity", "none", "null", "binary", "aws-chunked", "7bit", "8bit", "us-ascii", "utf-8", "utf8"}
#: Codings of the IANA registry. Only these are named in a message, which has no other value of a field.
_CODINGS = {"br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "x-compress", "x-gzip", "zstd"}


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Bytes `start` to `end` (exclusive) of `total`; each None where the field says ``*``."""

    start: int | None
    end: int | None
    total: int | None


def content_length(text: str | None) -> int | None:
    """A Content-Length; a list of equal values is one value (RFC 9112 section 6.3, item 5)."""
    values = {part.strip(" \t") for part in (text or "").split(",")}
    value = values.pop()
    return int(value) if not values and re.fullmatch(_NUMBER, value) else None


def content_range(text: str) -> ContentRange | None:
    """RFC 9110 section 14.4. No range can be of an empty file: what is said of one beside the total of 0, such as
    ``0--1``, is not read."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        return None
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None or total == 0:
        return ContentRange(None, None, total) if total is not None else None
    start, end = int(match[1]), int(match[2]) + 1
    if start >= end or (total is not None and end > total):
        return None
    return ContentRange(start, end, total)


def content_coding(text: str | None) -> str | None:
    """The coding that a Content-Encoding (RFC 9110 section 8.4) names, as a message may say it; None if it leaves the
    bytes as they are."""
    codings = [name for part in (text or "").split(",") if (name := part.strip().lower()) not in _IDENTITY]
    if not codings:
        return None
    return " and ".join(codings) if set(codings) <= _CODINGS else "an unknown coding"


def validator(head: Head) -> tuple[str, ServerBehavior]:
    """What tells this version of the file from another, and the server's behavior where that is not strong ("").

    A strong ETag (RFC 9110 section 8.8.1), else a Last-Modified that is at least a second before Date, which is strong
    by section 8.8.2.2 in the absence of an ETag. An ETag without quotes is none.
    """
    etag = head.get("etag") or ""
    if is_strong_etag(etag):
        return etag, ServerBehavior.WELL_BEHAVED
    if etag.startswith("W/"):
        return "", ServerBehavior.WEAK_VALIDATOR
    modified, date = http_date(head.get("last-modified")), http_date(head.get("date"))
    if modified is None:
        return "", ServerBehavior.NO_VALIDATOR
    if date is None or date - modified < 1:
        return "", ServerBehavior.LAST_MODIFIED_TOO_RECENT
    return f"Last-Modified: {head.get('last-modified')}", ServerBehavior.WELL_BEHAVED


def version_mark(head: Head) -> str:
    """What tells this version of the file from another, strong or not; empty if the server sends nothing of the kind.

    Where the mark of a file changes, the file was replaced. Where it stays, only a strong one says that the file did
    too: two versions may have the same weak ETag (RFC 9110 section 8.8.1). Unlike `validator`, an ETag in any form
    comes before Last-Modified, because whether that is strong depends on the time of the response.
    """
    etag = (head.get("etag") or "").strip()
    if is_strong_etag(etag) or _WEAK_ETAG.fullmatch(etag):
        return etag if 2 < len(etag) <= _LONGEST_ETAG else ""
    if _UNQUOTED_ETAG.fullmatch(etag):
        return f"ETag without quotes: {etag}"
    return validator(head)[0]


def is_strong_etag(text: str) -> bool:
    """Whether `text` is a well-formed ETag that is not weak (RFC 9110 section 8.8.3)."""
    return _STRONG_ETAG.fullmatch(text) is not None


def http_date(text: str | None) -> float | None:
    """Seconds since 1970 of an IMF-fixdate (RFC 9110 section 5.6.7); the two obsolete formats are not understood."""
    match = _HTTP_DATE.fullmatch(text.strip()) if text else None
    if match is None or match[2] not in _MONTHS:
        return None
    day, month, year = int(match[1]), _MONTHS.index(match[2]) + 1, int(match[3])
    try:
        return datetime(year, month, day, int(match[4]), int(match[5]), int(match[6]), tzinfo=UTC).timestamp()
    except ValueError:
        return None


def retry_after(head: Head) -> float | None:
    """Seconds that the server asks to wait, clamped: by Retry-After (RFC 9110 section 10.2.3), or else by RateLimit.

    A date is taken relative to the response's own Date, so that our clock does not matter.
    """
    text = (head.get("retry-after") or "").strip()
    then, now = http_date(text), http_date(head.get("date"))
    seconds: float | None
    if re.fullmatch(_NUMBER, text):
        seconds = float(text)
    elif then is not None and now is not None:
        seconds = then - now
    else:
        seconds = until_reset(head.get("ratelimit") or "")
    return None if seconds is None else min(max(seconds, MIN_RETRY_AFTER), MAX_RETRY_AFTER)


def content_sha256(head: Head) -> bytes | None:
    """The SHA-256 that Content-Digest (RFC 9530 section 2) declares for this response's content.

    Content-MD5 is not read: RFC 7231 appendix B removed it because servers disagree on what it covers in a 206.
    """
    match = _SHA256_ITEM.search(head.get("content-digest") or "")
    return binascii.a2b_base64(match[1]) if match else None
