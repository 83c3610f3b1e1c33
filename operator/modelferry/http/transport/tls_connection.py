"""A connection that speaks TLS itself, over OpenSSL's memory buffers, and decrypts straight into its own buffer.

Why not asyncio's TLS: it keeps a buffer of 256 KiB and up to 512 KiB of ciphertext for each connection (47.5 MB of RSS
with 16 of them, measured; 35.5 MB like this), and when a peer closes while reading is paused it drops what it has not
passed on yet. Why not `ssl.SSLSocket`: OpenSSL reads a socket twice for each record of 16 KiB.
"""

from __future__ import annotations

import socket
import ssl

from modelferry.http.tls.session import TLSSession
from modelferry.http.transport.connection import Connection

#: What a record adds to its 16 KiB of content at most (RFC 8446 section 5.2), rounded up.
_RECORD, _RECORD_OVERHEAD = 16 * 1024, 256
#: What it adds at least: a header, the content's type, and the tag of the shortest cipher (RFC 8446 section 5.2).
_LEAST_OVERHEAD = 5 + 1 + 8
#: Bytes of a buffer that is meant for a fast network path.
_FAST = 8 * _RECORD
#: Ciphertext as it is received. One buffer for all connections: it is emptied in the call that fills it.
_CIPHERTEXT = memoryview(bytearray(16 * (_RECORD + _RECORD_OVERHEAD)))


class TLSConnection(Connection):
    """TLS with the server called `host`, whose certificate `context` verifies. Call `handshake` before anything
    else."""

    def __init__(self, size: int, connected: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(size, connected)
        # What is received at once fills the buffer about once, so that little has to wait within OpenSSL; on a slow
        # path one record, since OpenSSL keeps as much memory as it was ever given at once.
        at_once = size if size >= _FAST else _RECORD
        self._ciphertext = _CIPHERTEXT[: at_once + _RECORD_OVERHEAD]
        self._session = TLSSession(context, host)

    async def handshake(self) -> None:
        """Raises ssl.SSLError where the handshake fails, OSError where the server closes the connection."""
        while True:
            try:
                if self._session.handshake():
                    return
            finally:
                self._flush()  # in case of an error, the alert that tells the server why
            await self._receive_ciphertext()

    def send(self, data: bytes) -> None:
        self._begin()
        self._session.write(data)
        self._flush()

    async def _receive_ciphertext(self) -> None:
        while (count := super()._receive(self._ciphertext)) < 0:
            # No plaintext can be waited for yet: any byte from the socket ends the wait.
            await self._readable(0)
        if count == 0:
            raise self._failure or ConnectionResetError("closed the connection within the TLS handshake")
        self._session.feed(self._ciphertext[:count])

    def _receive(self, into: memoryview) -> int:
        """Plaintext: what OpenSSL holds, and where it holds none, from the socket."""
        while (count := self._decrypt(into)) < 0:
            received = super()._receive(self._ciphertext)
            if received <= 0:
                return received
            self._session.feed(self._ciphertext[:received])
            self._held += received
        return count

    def _decrypt(self, into: memoryview) -> int:
        """As many records as there are and fit into `into`; -1 where there is none, 0 where no more will arrive."""
        count, room = 0, len(into)
        read, pending = self._session.read, self._session.pending
        try:
            while count < room:
                # With a buffer it returns a count; its type only knows the other form.
                got = int(read(room - count, into[count:]))
                if got == 0:
                    self.ended = True  # close_notify
                    break
                count += got
                # Of the record nothing is left: its header and tag are gone too.
                self._held -= got if pending() else got + _LEAST_OVERHEAD
        except ssl.SSLWantReadError:
            # All but part of a record was given out.
            self._held = min(max(0, self._held), _RECORD + _RECORD_OVERHEAD)
            if not count:
                count = -1
        except ssl.SSLError as error:
            self._fail(error)
        if self._session.has_outgoing:
            self._flush()
        return count

    def _flush(self) -> None:
        if not self.ended and self._session.has_outgoing:
            self._send(self._session.outgoing())
