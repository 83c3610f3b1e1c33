"""TLS over OpenSSL's memory buffers, without I/O: the caller carries the ciphertext."""

from __future__ import annotations

import ssl
from collections.abc import Callable


class TLSSession:
    """TLS with the server called `host`, whose certificate `context` verifies.

    ``feed`` takes ciphertext that was received; `outgoing` returns what is to be sent, after each other call. ``read``,
    ``write`` and ``pending`` are those of `ssl.SSLObject`: `read` returns plaintext, or fills a buffer and returns a
    count, and raises ssl.SSLWantReadError where it needs more ciphertext; `pending` counts the plaintext bytes of the
    record that was read last.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(incoming, self._outgoing, server_hostname=host)
        # Bound methods: a record is decrypted without a further call between.
        self.feed: Callable[[memoryview | bytes], int] = incoming.write
        self.read = self._tls.read
        self.write = self._tls.write
        self.pending = self._tls.pending

    def handshake(self) -> bool:
        """Go on with the handshake; returns whether it is complete. Raises ssl.SSLError where it failed; then
        `outgoing` is the alert that tells the peer why."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    @property
    def has_outgoing(self) -> bool:
        """Whether there is ciphertext to send."""
        return self._outgoing.pending > 0

    def outgoing(self) -> bytes:
        """The ciphertext to send; empty where there is none."""
        return self._outgoing.read()
