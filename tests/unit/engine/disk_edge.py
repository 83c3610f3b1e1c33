"""The storage edge under test: each call that reaches the disk is counted, may fail, be short or be the last one, and
what a power cut leaves is known.

The model of a disk: bytes are durable when their file was synced after them. A sync that failed has lost what was not
durable then, for good, unless it is written again (Linux marks the pages clean). A name is durable when its directory
was synced after it. SQLite is trusted to have on the disk what it has committed: it is asked for WAL and
synchronous=FULL, and `Ledger` looks whether it got them.
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

from modelferry.engine.storage import files

BLOCK = 4096
#: What a call may meet with. ``kill``: the process ends before it; ``torn``: a write ends in its middle, with the
#: process; the others are what the system answers.
KINDS = ("kill", "torn", "EIO", "ENOSPC", "short")

_CALLS = ("pwrite", "preadv", "fsync", "fdatasync", "rename", "mkdir", "unlink", "symlink", "rmdir", "ftruncate")


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Fault:
    """``kind`` at call number ``call`` (from 1); ``lasting``: at each one after it, too."""

    call: int
    kind: str
    lasting: bool = False


@dataclass
class DiskEdge:
    """One process's disk. ``log`` names its calls in order."""

    faults: tuple[Fault, ...] = ()
    log: list[str] = field(default_factory=list)
    dead: bool = False
    #: By inode: what is durable of a file; blocks that a failed sync lost.
    durable: dict[int, bytes] = field(default_factory=dict)
    lost: dict[int, set[int]] = field(default_factory=dict)
    #: (directory's inode, name) of entries that are not durable.
    names: set[tuple[int, str]] = field(default_factory=set)
    #: Renames that are not: (inode of the directory, from, to). They happened or did not, as a whole.
    renames: list[tuple[int, Path, Path]] = field(default_factory=list)

    @contextmanager
    def at_work(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """While the block runs, the process's calls come here."""
        with monkeypatch.context() as patch:
            for name in _CALLS:
                patch.setattr(os, name, self._watched(name, getattr(os, name)))
            patch.setattr(os, "open", self._opening(os.open))
            patch.setattr(files, "allocate", self._watched("allocate", files.allocate))
            patch.setattr(sqlite3, "connect", self._connecting(sqlite3.connect))
            yield

    def meet(self, name: str) -> str:
        """Count a call; returns the kind of what it meets, or "". Raises Killed."""
        if self.dead:
            raise Killed
        self.log.append(name)
        number = len(self.log)
        kind = next((f.kind for f in self.faults if f.call == number or (f.lasting and f.call <= number)), "")
        if kind == "kill":
            self.dead = True
            raise Killed
        return kind

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            kind = self.meet(name)
            if kind in ("EIO", "ENOSPC"):
                if name in ("fsync", "fdatasync"):
                    self._lose(arguments[0])
                number = getattr(errno, kind)
                if name == "allocate":
                    raise files.disk_error("preallocating", OSError(number, os.strerror(number)))
                raise OSError(number, os.strerror(number))
            if kind in ("torn", "short") and name == "pwrite":
                fd, data, offset = arguments
                count = int(real(fd, data[: max(1, len(data) // 2)], offset))
                self._wrote(fd, offset, count)
                if kind == "torn":
                    self.dead = True
                    raise Killed
                return count
            # What a sync does is in the model: the real one would only cost time.
            result = None if name in ("fsync", "fdatasync") else real(*arguments, **options)
            self._note(name, arguments, options, result)
            return result

        return call

    def _note(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any], result: Any) -> None:
        match name:
            case "pwrite":
                self._wrote(arguments[0], arguments[2], result)
            case "fsync" | "fdatasync":
                self._synced(arguments[0])
            case "mkdir" | "symlink":
                self._named(arguments[-1] if name == "symlink" else arguments[0], options.get("dir_fd"))
            case "rename":
                self._renamed(arguments[0], arguments[1], options["src_dir_fd"], options["dst_dir_fd"])

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            creates = flags & os.O_CREAT and flags & os.O_EXCL
            if creates and self.meet("create") in ("EIO", "ENOSPC"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fd = real(path, flags, *arguments, **options)
            if creates:
                self._named(path, options.get("dir_fd"))
                self.durable.setdefault(os.fstat(fd).st_ino, b"")
            return fd

        return call

    def _connecting(self, real: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        edge = self

        class Connection(sqlite3.Connection):
            """Its commits are calls."""

            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if sql == "COMMIT" and edge.meet(sql) in ("EIO", "ENOSPC"):
                    raise sqlite3.OperationalError("disk I/O error")
                if edge.dead and sql != "ROLLBACK":
                    raise Killed
                return super().execute(sql, *arguments)

            def executescript(self, sql: str) -> sqlite3.Cursor:
                if edge.meet("COMMIT") in ("EIO", "ENOSPC"):
                    raise sqlite3.OperationalError("disk I/O error")
                return super().executescript(sql)

            def commit(self) -> None:
                raise AssertionError("a commit that the edge does not see")

        def call(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return real(*arguments, **{"factory": Connection} | options)

        return call

    def _wrote(self, fd: int, offset: int, count: int) -> None:
        blocks = range(offset // BLOCK, (offset + max(count, 1) - 1) // BLOCK + 1)
        self.lost.setdefault(os.fstat(fd).st_ino, set()).difference_update(blocks)

    def _synced(self, fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            self.names = {(directory, name) for directory, name in self.names if directory != status.st_ino}
            self.renames = [rename for rename in self.renames if rename[0] != status.st_ino]
        else:
            lost = self.lost.get(status.st_ino, set())
            self.durable[status.st_ino] = _mixed(self.durable.get(status.st_ino, b""), _content(fd), lost)

    def _lose(self, fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            before, after = self.durable.get(status.st_ino, b""), _content(fd)
            lost = self.lost.setdefault(status.st_ino, set())
            lost.update(n for n in range(-(-len(after) // BLOCK)) if _block(before, n) != _block(after, n))

    def _named(self, name: str, directory: int | None) -> None:
        assert directory is not None, f"{name} was not reached by descriptor"
        self.names.add((os.fstat(directory).st_ino, name))

    def _renamed(self, old: str, new: str, below: int, above: int) -> None:
        where = os.fstat(above).st_ino
        if (os.fstat(below).st_ino, old) in self.names:
            self.names.add((where, new))
        self.renames.append((where, _path(below) / old, _path(above) / new))

    def survives(self, root: Path, path: Path) -> bytes | None:
        """What of the file at `path`, below `root`, is there after a power cut whatever happens; None where its name
        may be gone."""
        at = path
        while at != root:
            if (at.parent.stat().st_ino, at.name) in self.names:
                return None
            at = at.parent
        return self.durable.get(path.stat().st_ino, b"")

    def cut_power(self, root: Path, random: Random) -> None:
        """Leave what is durable, and of the rest what chance leaves."""
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
                path.write_bytes(_mixed(before, after, kept))
                self.durable[status.st_ino] = path.read_bytes()
        self.names.clear()
        self.lost.clear()

    def next_process(self, *faults: Fault) -> DiskEdge:
        """The same disk, for the process that comes after."""
        return DiskEdge(faults, durable=self.durable, lost=self.lost, names=self.names, renames=self.renames)


def die_at(patch: pytest.MonkeyPatch, step: int, *calls: str) -> None:
    """From call number `step` on, none of these of `os` happens any more: for code that is run without a model of the
    disk."""
    edge = DiskEdge((Fault(step, "kill"),))

    def mortal(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            edge.meet(name)
            return real(*arguments, **options)

        return call

    for name in calls:
        patch.setattr(os, name, mortal(name, getattr(os, name)))


def _path(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


def _content(fd: int) -> bytes:
    # By name: the descriptor may be open for writing alone.
    return Path(f"/proc/self/fd/{fd}").read_bytes()


def _block(data: bytes, number: int) -> bytes:
    return data[number * BLOCK : (number + 1) * BLOCK].ljust(BLOCK, b"\0")


def _mixed(before: bytes, after: bytes, old: set[int]) -> bytes:
    """`after`, with the blocks in `old` as they were `before`."""
    blocks = range(-(-len(after) // BLOCK))
    return b"".join(_block(before if n in old else after, n) for n in blocks)[: len(after)]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
