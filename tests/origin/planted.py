"""What a planted secret looks like wherever it may have got to."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from origin.certs import Leaf


def forms(secret: str) -> Iterator[bytes]:
    """`secret` verbatim, URL-encoded, and in base64 wherever it begins in what was encoded."""
    raw = secret.encode()
    yield from (raw, quote(secret, safe="").encode(), quote_plus(secret).encode())
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = 8 * (before + len(raw)) // 6
            yield encode(bytes(before) + raw)[(8 * before + 5) // 6 : whole]


def found_in(text: str | bytes, *secrets: str) -> list[str]:
    """Those of `secrets` that are in `text` in any form."""
    data = text.encode() if isinstance(text, str) else text
    return [secret for secret in secrets if any(form in data for form in forms(secret))]


def key_lines(leaf: Leaf) -> list[str]:
    """What of a private key is its own: the lines of its PEM but for the first, which begins alike in all."""
    return [line for line in leaf.key.read_text().splitlines() if "-----" not in line][1:]
