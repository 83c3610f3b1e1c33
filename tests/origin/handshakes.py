"""A server that ends each connection after the TLS handshake.

When it refuses a handshake it sends the TLS alert, which asyncio's servers do not.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[str]:
    """Run a server with this `context`; yields its ``host:port``."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):  # until the listener is closed
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(10)
                    context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
