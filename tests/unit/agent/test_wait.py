"""Waiting for a published model, on a clock that sleeping moves."""

from __future__ import annotations

import errno
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from modelferry.agent.wait import check_model, wait_for_model
from modelferry.checkpoint.ready_marker import ReadyFile, ReadyMarker
from modelferry.errors import MachineError, Waiting

Damage = Callable[[Path], object]

MARKER = ".modelferry-ready.json"
READY = ReadyMarker("r1", "sha256:0", 5, 0.0, (ReadyFile("asset/a.bin", 5, "sha256:0", "verified"),))


class World:
    """Seconds pass by sleeping, and `event` happens at `when`."""

    def __init__(self, when: float = inf, event: Callable[[], object] = lambda: None) -> None:
        self.now, self.when, self.event = 0.0, when, event
        self.said: list[str] = []

    def sleep(self, seconds: float) -> None:
        assert seconds > 0, "a busy loop"
        if self.now < self.when <= self.now + seconds:
            self.event()
        self.now += seconds

    def wait_for_model(self, directory: Path, revision: str | None = None, timeout: float = inf) -> ReadyMarker:
        return wait_for_model(
            directory,
            revision=revision,
            timeout=timeout,
            report=self.said.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def publish(directory: Path, ready: ReadyMarker = READY) -> None:
    (directory / "asset").mkdir(parents=True, exist_ok=True)
    (directory / "asset" / "a.bin").write_bytes(b"whole")
    (directory / MARKER).write_bytes(ready.encode())


def test_a_model_that_is_there_is_ready_at_once(tmp_path: Path) -> None:
    publish(tmp_path)
    world = World()
    assert world.wait_for_model(tmp_path) == READY
    assert (world.now, world.said) == (0, [])


def test_the_model_may_stand_in_current_of_a_target_directory(tmp_path: Path) -> None:
    publish(tmp_path / "revisions" / "r1")
    (tmp_path / "current").symlink_to("revisions/r1")
    assert World().wait_for_model(tmp_path) == READY


def test_it_waits_until_the_model_is_published_and_says_so_now_and_then(tmp_path: Path) -> None:
    world = World(100, lambda: publish(tmp_path))
    assert world.wait_for_model(tmp_path) == READY
    assert 100 <= world.now <= 102
    assert [line.split(":")[0].rsplit("since ", 1)[1] for line in world.said] == ["0 s", "30 s", "60 s", "90 s"]
    assert all("nothing is published there yet" in line for line in world.said)


def test_after_the_timeout_it_says_what_is_missing(tmp_path: Path) -> None:
    world = World()
    with pytest.raises(Waiting, match=r"not ready after 2\.5 s: nothing is published there yet") as caught:
        world.wait_for_model(tmp_path, timeout=2.5)
    assert world.now == 2.5
    assert (caught.value.exit_code, caught.value.reason) == (4, "NotReady")


def test_it_waits_for_the_revision_that_was_asked_for(tmp_path: Path) -> None:
    publish(tmp_path, ReadyMarker("r0", "sha256:0", 5, 0.0, READY.files))
    assert check_model(tmp_path, "r1") == "it holds revision r0, not r1"
    assert World(10, lambda: publish(tmp_path)).wait_for_model(tmp_path, revision="r1") == READY


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        (lambda d: (d / "asset" / "a.bin").write_bytes(b"who"), "asset/a.bin has 3 of 5 bytes"),
        (lambda d: (d / "asset" / "a.bin").unlink(), "a.bin: No such file or directory"),
        (lambda d: (d / MARKER).write_bytes(b'{"revision": "r1", '), "its marker is damaged"),
        (lambda d: (d / MARKER).write_bytes(b"[]"), "its marker is damaged"),
    ],
)
def test_a_model_that_is_not_whole_is_not_ready(tmp_path: Path, damage: Damage, seen: str) -> None:
    publish(tmp_path)
    damage(tmp_path)
    assert str(check_model(tmp_path, None)).endswith(seen)


def test_a_directory_that_does_not_exist_is_waited_for(tmp_path: Path) -> None:
    assert check_model(tmp_path / "absent", None) == "there is no such directory yet"


def test_a_model_that_may_not_be_read_is_a_fault_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(MachineError, match="permission denied; run as a user") as caught:
        check_model(tmp_path, None)
    assert caught.value.exit_code == 4
