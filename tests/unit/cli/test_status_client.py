"""Progress from the checkpoint's Unix socket."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from modelferry.cli.runtime_directory import runtime_directory
from modelferry.cli.status_client import fetch_progress
from modelferry.messages import Progress


def answer(path: Path, body: bytes) -> threading.Thread:
    """Serve one connection at `path` with `body`."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(body)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def response(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_the_checkpoint_is_asked_over_its_socket() -> None:
    progress = Progress("fetching", total=10, done=5)
    with runtime_directory() as run:
        thread = answer(run / "s", response(progress.encode()))
        assert fetch_progress(run / "s") == progress
        thread.join()


@pytest.mark.parametrize(
    "body", [b"", b"nonsense\r\n\r\n", response("{}"), response("{", "503 Busy"), response("[]")[:-1]]
)
def test_an_answer_that_is_none_is_passed_over(body: bytes) -> None:
    with runtime_directory() as run:
        thread = answer(run / "s", body)
        assert fetch_progress(run / "s") is None
        thread.join()


def test_a_checkpoint_that_is_not_there_yet_has_no_answer(tmp_path: Path) -> None:
    assert fetch_progress(tmp_path / "absent") is None
