"""Asking the checkpoint how the download stands, over its Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar

from modelferry.messages import ChunkMap, Progress

_TIMEOUT = 2.0


Answer = TypeVar("Answer")


def ask(path: Path) -> Progress | None:
    """How far the download is, of the checkpoint behind the socket at `path`; None while it does not answer."""
    return _ask(path, "/v1/progress", Progress.decode)


def ask_chunks(path: Path) -> ChunkMap | None:
    """How each chunk stands; the same."""
    return _ask(path, "/v1/chunks", ChunkMap.decode)


def _ask(path: Path, what: str, decode: Callable[[bytes], Answer]) -> Answer | None:
    connection = _UnixConnection(path)
    try:
        connection.request("GET", what)
        response = connection.getresponse()
        body = response.read()
        return decode(body) if response.status == 200 else None
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
