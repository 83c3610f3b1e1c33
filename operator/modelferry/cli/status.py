"""Asking the checkpoint how the download stands, over its Unix socket."""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from modelferry.messages import Progress

_TIMEOUT = 2.0


def ask(path: Path) -> Progress | None:
    """What the checkpoint behind the socket at `path` answers; None while it does not."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", "/v1/progress")
        response = connection.getresponse()
        body = response.read()
        return Progress.decode(body) if response.status == 200 else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))
