"""A directory tree reached by file descriptor, never through a symbolic link below its root.

Paths are relative, of the one grammar (`manifest.paths`) or from `layout`. Every method blocks; raises OSError.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

#: Consumers run as any user: files can be read and directories passed by all, written by the owner alone.
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """A root directory held open. The root itself may be reached through links: it is the caller's word."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # The directory that was last worked in: thousands of files in one are not each reached from the root.
        self._held, self._held_fd = "", -1

    def close(self) -> None:
        """Let go of the root."""
        self._let_go()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def names(self, path: str = "") -> set[str]:
        """What is in directory `path`; empty where there is none."""
        try:
            with self.directory(path) as fd, os.scandir(fd) as entries:
                return {entry.name for entry in entries}
        except FileNotFoundError:
            return set()

    def files(self, path: str) -> set[str]:
        """Everything below directory `path` that is no directory, relative to it; a link is not followed."""
        found = set()
        with self.directory(path) as fd:
            for base, directories, names, below in os.fwalk(dir_fd=fd):
                links = (name for name in directories if stat.S_ISLNK(os.lstat(name, dir_fd=below).st_mode))
                found |= {f"{base}/{name}".removeprefix("./") for name in (*names, *links)}
        return found

    def make(self, path: str) -> None:
        """Make directory `path` and its parents durably, each with the published mode whatever the umask."""
        segments = path.split("/")
        for count in range(1, len(segments) + 1):
            with self._at("/".join(segments[:count])) as (fd, name):
                try:
                    os.mkdir(name, DIRECTORY_MODE, dir_fd=fd)
                except FileExistsError:
                    continue
                made = os.open(name, _DIRECTORY, dir_fd=fd)
                try:
                    os.fchmod(made, DIRECTORY_MODE)
                finally:
                    os.close(made)
                os.fsync(fd)

    def open(self, path: str, flags: int) -> int:
        """A file descriptor of regular file `path`; with O_CREAT it gets the published mode. The caller closes it."""
        with self._at(path) as (fd, name):
            opened = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE, dir_fd=fd)
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                os.close(opened)
                raise OSError(f"{path} is not a regular file")
            if flags & os.O_CREAT:
                os.fchmod(opened, FILE_MODE)
            return opened

    def status(self, path: str) -> os.stat_result | None:
        """What is at `path` (a link itself, not its target), or None."""
        try:
            with self._at(path) as (fd, name):
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def read(self, path: str, limit: int = 1 << 24) -> bytes | None:
        """A small file whole, or None where there is none."""
        try:
            fd = self.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read(limit)

    def write(self, path: str, data: bytes) -> None:
        """Put a small file in place atomically and durably."""
        beside = f"{path}.new"
        self.remove(beside)
        with os.fdopen(self.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.rename(beside, path)

    def link(self, target: str, path: str) -> None:
        """Point symbolic link `path` at `target`, atomically and durably."""
        beside = f"{path}.new"
        self.remove(beside)
        with self._at(beside) as (fd, name):
            os.symlink(target, name, dir_fd=fd)
        self.rename(beside, path)

    def target(self, path: str) -> str | None:
        """Where symbolic link `path` points, or None where there is none."""
        try:
            with self._at(path) as (fd, name):
                return os.readlink(name, dir_fd=fd)
        except OSError:
            return None

    def rename(self, old: str, new: str) -> None:
        """Rename durably: both directories are synced."""
        self._let_go()
        with self._at(old) as (old_fd, old_name), self._at(new) as (new_fd, new_name):
            os.rename(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd)
            os.fsync(new_fd)
            os.fsync(old_fd)

    def remove(self, path: str) -> None:
        """Remove `path` with all below it, if it is there. No link is followed."""
        if self._held == path or self._held.startswith(f"{path}/"):
            self._let_go()
        with contextlib.suppress(FileNotFoundError), self._at(path) as (parent, name):
            try:
                os.unlink(name, dir_fd=parent)
            except (IsADirectoryError, PermissionError):
                for _, directories, files, fd in os.fwalk(name, topdown=False, dir_fd=parent):
                    for entry in files:
                        os.unlink(entry, dir_fd=fd)
                    for entry in directories:
                        _remove_directory(entry, fd)
                os.rmdir(name, dir_fd=parent)

    def sync(self, path: str = "") -> None:
        """fsync directory `path`."""
        with self.directory(path) as fd:
            os.fsync(fd)

    def free(self) -> tuple[int, int]:
        """Bytes that this user may still allocate on the root's file system, and bytes that it has in all."""
        status = os.fstatvfs(self._fd)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    @contextlib.contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A descriptor of directory `path`, for as long as the block runs."""
        fd = os.dup(self._fd)
        try:
            for segment in path.split("/") if path else ():
                below = os.open(segment, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _at(self, path: str) -> Iterator[tuple[int, str]]:
        parent, _, name = path.rpartition("/")
        if parent and parent == self._held:
            fd = os.dup(self._held_fd)
        else:
            with self.directory(parent) as found:
                fd = os.dup(found)
            self._let_go()
            self._held, self._held_fd = parent, os.dup(fd)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _let_go(self) -> None:
        """Of the directory that was last worked in: what stands at its path may be another one from here on."""
        if self._held_fd >= 0:
            os.close(self._held_fd)
        self._held, self._held_fd = "", -1


def _remove_directory(name: str, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:  # a link to a directory
        os.unlink(name, dir_fd=parent)
