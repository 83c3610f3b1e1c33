"""A disk with injected faults: every call that reaches it is counted, and may fail, write less, or be the last one of
the process. It also knows what a power failure leaves.

Its model: bytes are durable if their file was synced after they were written. A sync that fails loses the bytes that
were not durable, until they are written again, because Linux marks their pages clean. A name is durable if its
directory was synced afterwards. SQLite is trusted to have its commits on the disk: `ChunkStore` sets WAL and
synchronous=FULL, and checks that they are in effect.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from modelferry.storage import file_io

BLOCK = 4096
#: ``kill``: the process ends before the call. ``torn``: a write ends halfway, and with it the process. ``short``: a
#: write writes half. The others are errors of the operating system.
FAULT_KINDS = ("kill", "torn", "EIO", "ENOSPC", "short")

_CALLS = ("pwrite", "preadv", "fsync", "fdatasync", "rename", "mkdir", "unlink", "symlink", "rmdir", "ftruncate")


class Killed(BaseException):
    """The process was killed."""


@dataclass(frozen=True)
class Fault:
    """``kind`` at call number ``call`` (from 1); ``lasting``: and at all calls after it."""

    call: int
    kind: str
    lasting: bool = False


@dataclass
class FaultyDisk:
    """The disk as one process sees it. ``log``: names of its calls, in order."""

    faults: tuple[Fault, ...] = ()
    log: list[str] = field(default_factory=list)
    dead: bool = False
    #: By inode: the durable content of a file, and the blocks that a failed sync lost.
    durable: dict[int, bytes] = field(default_factory=dict)
    lost: dict[int, set[int]] = field(default_factory=dict)
    #: (directory's inode, name) of entries that are not durable.
    names: set[tuple[int, str]] = field(default_factory=set)
    #: Renames that are not durable: (inode of the directory, from, to). A power failure leaves or undoes each of them.
    renames: list[tuple[int, Path, Path]] = field(default_factory=list)

    @contextmanager
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Replace the calls of this process while the block runs."""
        with monkeypatch.context() as patch:
            for name in _CALLS:
                patch.setattr(os, name, self._counted(name, getattr(os, name)))
            patch.setattr(os, "open", self._counted_open(os.open))
            patch.setattr(file_io, "preallocate", self._counted("preallocate", file_io.preallocate))
            patch.setattr(sqlite3, "connect", self._counted_connect(sqlite3.connect))
            yield

    def count_call(self, name: str) -> str:
        """Count a call; returns the kind of its fault, or "". Raises Killed."""
        if self.dead:
            raise Killed
        self.log.append(name)
        number = len(self.log)
        kind = next((f.kind for f in self.faults if f.call == number or (f.lasting and f.call <= number)), "")
        if kind == "kill":
            self.dead = True
            raise Killed
        return kind

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            kind = self.count_call(name)
            if kind in ("EIO", "ENOSPC"):
                if name in ("fsync", "fdatasync"):
                    self._lose_unsynced(arguments[0])
                number = getattr(errno, kind)
                if name == "preallocate":
                    raise file_io.disk_error("preallocating", OSError(number, os.strerror(number)))
                raise OSError(number, os.strerror(number))
            if kind in ("torn", "short") and name == "pwrite":
                fd, data, offset = arguments
                count = int(real(fd, data[: max(1, len(data) // 2)], offset))
                self._after_write(fd, offset, count)
                if kind == "torn":
                    self.dead = True
                    raise Killed
                return count
            # The model knows what a sync does; the real one would only take time.
            result = None if name in ("fsync", "fdatasync") else real(*arguments, **options)
            self._update(name, arguments, options, result)
            return result

        return call

    def _update(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any], result: Any) -> None:
        match name:
            case "pwrite":
                self._after_write(arguments[0], arguments[2], result)
            case "fsync" | "fdatasync":
                self._after_sync(arguments[0])
            case "mkdir" | "symlink":
                self._after_create(arguments[-1] if name == "symlink" else arguments[0], options.get("dir_fd"))
            case "rename":
                self._after_rename(arguments[0], arguments[1], options["src_dir_fd"], options["dst_dir_fd"])

    def _counted_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            creates = flags & os.O_CREAT and flags & os.O_EXCL
            if creates and self.count_call("create") in ("EIO", "ENOSPC"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fd = real(path, flags, *arguments, **options)
            if creates:
                self._after_create(path, options.get("dir_fd"))
                self.durable.setdefault(os.fstat(fd).st_ino, b"")
            return fd

        return call

    def _counted_connect(self, real: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        disk = self

        class Connection(sqlite3.Connection):
            """Counts commits as calls."""

            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if sql == "COMMIT" and disk.count_call(sql) in ("EIO", "ENOSPC"):
                    raise sqlite3.OperationalError("disk I/O error")
                if disk.dead and sql != "ROLLBACK":
                    raise Killed
                return super().execute(sql, *arguments)

            def executescript(self, sql: str) -> sqlite3.Cursor:
                if disk.count_call("COMMIT") in ("EIO", "ENOSPC"):
                    raise sqlite3.OperationalError("disk I/O error")
                return super().executescript(sql)

            def commit(self) -> None:
                raise AssertionError("a commit that is not counted")

        def call(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return real(*arguments, **{"factory": Connection} | options)

        return call

    def _after_write(self, fd: int, offset: int, count: int) -> None:
        blocks = range(offset // BLOCK, (offset + max(count, 1) - 1) // BLOCK + 1)
        self.lost.setdefault(os.fstat(fd).st_ino, set()).difference_update(blocks)

    def _after_sync(self, fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            self.names = {(directory, name) for directory, name in self.names if directory != status.st_ino}
            self.renames = [rename for rename in self.renames if rename[0] != status.st_ino]
        else:
            lost = self.lost.get(status.st_ino, set())
            self.durable[status.st_ino] = _blend(self.durable.get(status.st_ino, b""), _content(fd), lost)

    def _lose_unsynced(self, fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            before, after = self.durable.get(status.st_ino, b""), _content(fd)
            lost = self.lost.setdefault(status.st_ino, set())
            lost.update(n for n in range(-(-len(after) // BLOCK)) if _block(before, n) != _block(after, n))

    def _after_create(self, name: str, directory: int | None) -> None:
        assert directory is not None, f"{name} was not reached by descriptor"
        self.names.add((os.fstat(directory).st_ino, name))

    def _after_rename(self, old: str, new: str, below: int, above: int) -> None:
        where = os.fstat(above).st_ino
        if (os.fstat(below).st_ino, old) in self.names:
            self.names.add((where, new))
        self.renames.append((where, _path(below) / old, _path(above) / new))

    def durable_content(self, root: Path, path: Path) -> bytes | None:
        """The content of the file at `path`, below `root`, that a power failure certainly leaves; None if it may remove
        the name."""
        at = path
        while at != root:
            if (at.parent.stat().st_ino, at.name) in self.names:
                return None
            at = at.parent
        return self.durable.get(path.stat().st_ino, b"")

    def lose_power(self, root: Path, random: Random) -> None:
        """Keep what is durable, and a random part of the rest."""
        for _, old, new in reversed(self.renames):
            if random.random() < 0.5 and new.exists() and not old.exists():
                new.rename(old)
        self.renames.clear()
        for path in sorted(root.rglob("*"), key=lambda path: -len(path.parts)):
            if path.name.startswith("chunks.db") or path.name == "lock":
                continue
            status = path.lstat()
            if (path.parent.stat().st_ino, path.name) in self.names and random.random() < 0.5:
                _remove(path)
            elif stat.S_ISREG(status.st_mode) and status.st_ino in self.durable:
                before, after = self.durable[status.st_ino], path.read_bytes()
                blocks = range(-(-max(len(before), len(after)) // BLOCK))
                kept = {n for n in blocks if n in self.lost.get(status.st_ino, ()) or random.random() < 0.5}
                path.write_bytes(_blend(before, after, kept))
                self.durable[status.st_ino] = path.read_bytes()
        self.names.clear()
        self.lost.clear()

    def next_process(self, *faults: Fault) -> FaultyDisk:
        """The same disk as the next process sees it."""
        return FaultyDisk(faults, durable=self.durable, lost=self.lost, names=self.names, renames=self.renames)


def kill_at(patch: pytest.MonkeyPatch, step: int, *calls: str) -> None:
    """Raise Killed at call number `step` to the functions `calls` of `os`, and at all later ones. For code that is
    tested without the model of a disk."""
    disk = FaultyDisk((Fault(step, "kill"),))

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            disk.count_call(name)
            return real(*arguments, **options)

        return call

    for name in calls:
        patch.setattr(os, name, counted(name, getattr(os, name)))


def _path(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


def _content(fd: int) -> bytes:
    # By name: the descriptor may be open for writing alone.
    return Path(f"/proc/self/fd/{fd}").read_bytes()


def _block(data: bytes, number: int) -> bytes:
    return data[number * BLOCK : (number + 1) * BLOCK].ljust(BLOCK, b"\0")


def _blend(before: bytes, after: bytes, old: set[int]) -> bytes:
    """`after`, with the blocks in `old` as they were `before`."""
    blocks = range(-(-len(after) // BLOCK))
    return b"".join(_block(before if n in old else after, n) for n in blocks)[: len(after)]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
