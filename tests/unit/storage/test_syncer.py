"""Concurrent syncs of many files."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from modelferry.errors import DiskError, MachineError
from modelferry.storage.syncer import Syncer


@pytest.fixture
def syncer() -> Iterator[Syncer]:
    syncer = Syncer()
    yield syncer
    syncer.close()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64])
def test_each_file_is_synced_once_and_has_its_own_error(syncer: Syncer, count: int) -> None:
    synced: list[int] = []

    def sync(fd: int) -> None:
        synced.append(fd)
        if fd % 3 == 0:
            raise DiskError(f"{fd}")

    errors: list[MachineError | None] = syncer.sync(range(count), sync)
    assert sorted(synced) == list(range(count))
    assert [error and error.message for error in errors] == [None if fd % 3 else str(fd) for fd in range(count)]


@pytest.mark.parametrize("count", [1, 9])
def test_files_are_synced_while_the_block_runs(syncer: Syncer, count: int) -> None:
    other = threading.Event()
    synced: list[int] = []

    def sync(fd: int) -> None:
        assert other.wait(10), "the block did not run meanwhile"
        synced.append(fd)
        raise DiskError(f"{fd}")

    with syncer.syncing(range(count), sync) as result:
        assert not synced
        other.set()
        assert [error and error.message for error in result()] == [str(fd) for fd in range(count)]
    assert sorted(synced) == list(range(count))


def test_no_sync_continues_after_a_block_that_raised(syncer: Syncer) -> None:
    raising = threading.Event()
    ran: list[int] = []

    def sync(fd: int) -> None:
        assert raising.wait(10)
        ran.append(fd)

    def raise_in_block() -> None:
        with syncer.syncing(range(9), sync):
            raising.set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raise_in_block()
    assert sorted(ran) == list(range(9))
