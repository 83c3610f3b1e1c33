"""The temporary directory of one run."""

from __future__ import annotations

import socket
import stat
import tempfile
from pathlib import Path

import pytest

from modelferry.cli.runtime_directory import runtime_directory
from modelferry.errors import MachineError


def test_the_runtime_directory_is_private_and_gone_afterwards() -> None:
    with runtime_directory() as run:
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        (run / "manifest").write_bytes(b"signed URLs")
    assert not run.exists()


def test_a_socket_in_the_runtime_directory_can_be_bound_however_long_the_temporary_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with runtime_directory() as run, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(run / "checkpoint.sock"))


def test_a_temporary_directory_that_does_not_exist_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent")[-40:])
    with pytest.raises(MachineError, match="set TMPDIR"), runtime_directory():
        pass
