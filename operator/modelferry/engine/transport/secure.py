"""A connection that speaks TLS itself, over OpenSSL's memory buffers, and decrypts straight into its own two.

Why not asyncio's: it keeps a buffer of 256 KiB and up to 512 KiB of ciphertext for each connection (47.5 MB of RSS
with 16 of them, measured; 35.5 MB like this), and when a peer closes while reading is paused it drops what it has not
passed on yet.
"""

from __future__ import annotations

import asyncio
import ssl

from modelferry.engine.transport.connection import Connection

#: Ciphertext as it comes from the socket: four records at most. One buffer for all connections: between a connection's
#: `get_buffer` and its `buffer_updated` nothing else runs, and then it is empty again.
_RECORD_OVERHEAD = 256
_CIPHERTEXT = memoryview(bytearray(4 * (16 * 1024 + _RECORD_OVERHEAD)))


class SecureConnection(Connection):
    """TLS with the server called `host`, whose certificate `context` verifies. `handshake` comes before anything
    else."""

    def __init__(self, size: int, context: ssl.SSLContext, host: str) -> None:
        super().__init__(size)
        # What comes at once fills the plaintext's buffer about once, so that little has to wait within OpenSSL.
        self._ciphertext = _CIPHERTEXT[: size + _RECORD_OVERHEAD]
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._agreed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handshake(self) -> None:
        """Raises ssl.SSLError where no agreement is reached, ConnectionResetError where the server leaves."""
        self._shake()
        await self._agreed

    def send(self, data: bytes) -> None:
        self.used += 1
        self._tls.write(data)
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._ciphertext

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._ciphertext[:nbytes])
        if not self._agreed.done():
            self._shake()
        if self._agreed.done():
            self._decrypt()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._agreed.done():
            self._agreed.set_exception(exc or ConnectionResetError("closed the connection within the TLS handshake"))
            self._agreed.exception()  # seen: whoever waits gets it as well
        super().connection_lost(exc)

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert that tells the server why
            if not self._agreed.done():
                self._agreed.set_exception(error)
            self.abort()
        else:
            self._flush()
            self._agreed.set_result(None)

    def _decrypt(self) -> None:
        """Plaintext into the free part of the buffer, as far as it goes."""
        free = self._free()
        count = 0
        try:
            while count < len(free):
                # With a buffer it returns a count; its type only knows the other form.
                read = int(self._tls.read(len(free) - count, free[count:]))
                if read == 0:
                    self._end()  # close_notify
                    break
                count += read
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._failure = error
            self.abort()
        self._flush()
        if count:
            self._add(count)

    def _make_room(self) -> None:
        # What OpenSSL still holds comes first; only when that does not fill the buffer is the socket read again.
        paused, self._paused = self._paused, False
        if paused:
            self._decrypt()
            if not self._paused and self._transport is not None:
                self._transport.resume_reading()

    def _flush(self) -> None:
        if self._transport is not None and self._outgoing.pending:
            self._transport.write(self._outgoing.read())
