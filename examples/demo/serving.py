"""A file server over TLS on a free loopback port, as lean as Python allows: the demo measures the download alone."""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PIECE = 512 * 1024


@contextmanager
def serving(root: Path, context: ssl.SSLContext) -> Iterator[str]:
    """Serve the files below `root` while inside; gives the base URL, ``https://127.0.0.1:PORT``."""

    class Handler(_Files):
        directory = root.resolve()

    server = _Server(("127.0.0.1", 0), Handler)
    server.context = context
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    context: ssl.SSLContext

    def finish_request(self, request: object, client_address: object) -> None:
        # In the connection's own thread, so that a slow handshake delays no other connection.
        with self.context.wrap_socket(request, server_side=True) as connection:  # type: ignore[arg-type]
            super().finish_request(connection, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is none of the demo's business."""


class _Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    directory: Path

    def do_GET(self) -> None:
        path = (self.directory / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        if not path.is_relative_to(self.directory) or not path.is_file():
            self.send_error(404)
            return
        with path.open("rb") as file:
            self._send(file.fileno())

    def _send(self, file: int) -> None:
        status = os.fstat(file)
        start, end = 0, status.st_size
        range_match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if range_match:
            start, end = int(range_match[1]), min(int(range_match[2] or end) + 1, end)
            if start >= end:
                self.send_error(416)
                return
        self.send_response(206 if range_match else 200)
        if range_match:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{status.st_size}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", f'"{status.st_size:x}-{status.st_mtime_ns:x}"')
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        piece = memoryview(bytearray(_PIECE))
        while start < end:
            count = os.preadv(file, [piece[: end - start]], start)
            self.connection.sendall(piece[:count])
            start += count

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the terminal belongs to the progress display."""
