"""What surrounds the agents as child processes: their deaths, their directory, their answers."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from modelferry.cli.runtime_directory import run_directory
from modelferry.cli.status_client import ask
from modelferry.cli.supervisor import MOST_DEATHS, RestartBudget
from modelferry.errors import MachineError
from modelferry.messages import Progress


def test_deaths_without_progress_add_up() -> None:
    deaths = RestartBudget()
    for _ in range(MOST_DEATHS + 1):
        deaths = deaths.another(100)
    assert deaths.count == MOST_DEATHS + 1


def test_a_death_after_progress_counts_anew() -> None:
    deaths = RestartBudget()
    for done in range(100):
        deaths = deaths.another(done)
        assert deaths.count == 1
    assert deaths.another(50).count == 2


def test_the_run_directory_is_private_and_gone_afterwards() -> None:
    with run_directory() as run:
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        (run / "manifest").write_bytes(b"signed URLs")
    assert not run.exists()


def test_a_socket_in_the_run_directory_can_be_bound_however_long_the_temporary_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with run_directory() as run, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(run / "checkpoint.sock"))


def test_a_temporary_directory_that_does_not_exist_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent")[-40:])
    with pytest.raises(MachineError, match="set TMPDIR"), run_directory():
        pass


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
    with run_directory() as run:
        thread = answer(run / "s", response(progress.encode()))
        assert ask(run / "s") == progress
        thread.join()


@pytest.mark.parametrize(
    "body", [b"", b"nonsense\r\n\r\n", response("{}"), response("{", "503 Busy"), response("[]")[:-1]]
)
def test_an_answer_that_is_none_is_passed_over(body: bytes) -> None:
    with run_directory() as run:
        thread = answer(run / "s", body)
        assert ask(run / "s") is None
        thread.join()


def test_a_checkpoint_that_is_not_there_yet_has_no_answer(tmp_path: Path) -> None:
    assert ask(tmp_path / "absent") is None


def child(peak: Path, parent: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelferry.cli.child_process", str(peak), str(parent), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_child_leaves_its_peak_memory_and_its_exit_code(tmp_path: Path) -> None:
    peak = tmp_path / "peak"
    done = child(peak, os.getpid(), "wait", str(tmp_path), "--timeout", "0")
    assert (done.returncode, done.stdout) == (4, "")
    assert 5 << 20 < int(peak.read_text()) < 200 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_a_child_whose_parent_is_gone_ends(tmp_path: Path) -> None:
    assert child(tmp_path / "peak", 1, "wait", str(tmp_path)).returncode == 143
