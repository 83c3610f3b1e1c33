"""Pinned certificates: in addition to the usual verification, and before any request byte is sent.

A pin is ``sha256/`` and the base64 of a SHA-256, over the certificate (DER) or over its SubjectPublicKeyInfo, as RFC
7469 section 2.4 and ``curl --pinnedpubkey`` write it. The second survives a renewal with the same key. One match is
enough, so the next certificate's pin can be listed before it is used.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterable

from modelferry.http.tls.der import public_key_info
from modelferry.values.pins import PREFIX


class PinMismatch(ssl.SSLError):
    """The server's certificate is verified, but neither it nor its key is pinned."""


def pins_of(certificate: bytes) -> tuple[str, str]:
    """The pins that a certificate (DER) satisfies: its own, and its public key's."""
    return _pin(certificate), _pin(public_key_info(certificate) if certificate else b"")


def pinned_class(pins: Iterable[str]) -> type[ssl.SSLObject]:
    """For `SSLContext.sslobject_class`: a handshake that succeeds only with a pinned certificate."""
    allowed = frozenset(pins)

    class PinnedObject(ssl.SSLObject):
        """Checks the pins within the handshake, so that they hold for whatever uses the context."""

        def do_handshake(self) -> None:
            super().do_handshake()
            found = pins_of(self.getpeercert(binary_form=True) or b"")
            if not allowed.intersection(found):
                raise PinMismatch(f"the certificate is {found[0]}, its key {found[1]}, and neither is pinned")

    return PinnedObject


def _pin(data: bytes) -> str:
    return PREFIX + base64.b64encode(hashlib.sha256(data).digest()).decode()
