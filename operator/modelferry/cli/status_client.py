"""Requests the state of the download from the checkpoint, over its Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar

from modelferry.messages import ChunkMap, Progress

#: Seconds for a request.
_TIMEOUT = 2.0

Message = TypeVar("Message")


def fetch_progress(path: Path) -> Progress | None:
    """The progress from the checkpoint on the socket `path`; None while it does not answer."""
    return _fetch(path, "/v1/progress", Progress.decode)


def fetch_chunk_map(path: Path) -> ChunkMap | None:
    """The state of each chunk, from the same checkpoint; None while it does not answer."""
    return _fetch(path, "/v1/chunks", ChunkMap.decode)


def _fetch(path: Path, target: str, decode: Callable[[bytes], Message]) -> Message | None:
    connection = _UnixConnection(path)
    try:
        connection.request("GET", target)
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
