"""Header fields that a spec adds to requests: which names and values are valid (RFC 9110 sections 5.1 and 5.5)."""

from __future__ import annotations

import re

#: Characters of a value, the CRD's limit.
MAX_VALUE = 4096

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
#: What Modelferry sets itself, what is about one connection, and what would change the meaning of a response.
RESERVED = frozenset(
    (
        "accept",
        "accept-encoding",
        "cache-control",
        "connection",
        "expect",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "want-content-digest",
        "x-amz-checksum-mode",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    )
)
RESERVED_PREFIXES = ("content-", "proxy-")


def header_name_error(name: str) -> str | None:
    """What is wrong with a header field's name, as the end of a sentence; None if it is valid."""
    if not _NAME.fullmatch(name):
        return "must be a header field's name: at most 64 letters, digits, '-' and '_', such as X-Api-Key"
    if name.lower() in RESERVED or name.lower().startswith(RESERVED_PREFIXES):
        return "is a header field that Modelferry sets itself, or that is about the connection; remove it"
    return None


def header_value_error(value: str) -> str | None:
    """The same for its value. The value is not in the error: it may be a secret."""
    if len(value) > MAX_VALUE or not _VALUE.fullmatch(value):
        return f"must be 1 to {MAX_VALUE} printable ASCII characters, without a space at its beginning or end"
    return None
