"""Finds planted secrets in output, in any encoding."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from origin.certs import Leaf


def forms(secret: str) -> Iterator[bytes]:
    """`secret` verbatim, percent-encoded, and in base64 at each alignment."""
    raw = secret.encode()
    yield from (raw, quote(secret, safe="").encode(), quote_plus(secret).encode())
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            end = 8 * (before + len(raw)) // 6
            yield encode(bytes(before) + raw)[(8 * before + 5) // 6 : end]


def found_in(text: str | bytes, *secrets: str) -> list[str]:
    """The `secrets` that occur in `text`, in any encoding."""
    data = text.encode() if isinstance(text, str) else text
    return [secret for secret in secrets if any(form in data for form in forms(secret))]


def key_lines(leaf: Leaf) -> list[str]:
    """The lines of a private key's PEM without the first, which is the same in all keys."""
    return [line for line in leaf.key.read_text().splitlines() if "-----" not in line][1:]
