"""A directory tree that is accessed by file descriptors, never through a symbolic link below its root.

Paths are relative to the root, and come from `manifest.paths` or `layout`. Every method blocks, and raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from modelferry.storage.system_entries import is_system_entry

#: Consumers run as any user: everyone may read files and traverse directories; only the owner may write.
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_NO_MODES = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


class Tree:
    """A root directory that is kept open. The root's own path may contain links: the caller chose it."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # The parent of the last path, so that thousands of files in one directory do not each open it from the root.
        self._cached_path, self._cached_fd = "", -1

    def close(self) -> None:
        """Close the root."""
        self._clear_cache()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def list_names(self, path: str = "") -> set[str]:
        """Names in directory `path` without those of the file system; empty if it does not exist."""
        try:
            with self.directory(path) as fd, os.scandir(fd) as entries:
                return {entry.name for entry in entries if not is_system_entry(entry.name)}
        except FileNotFoundError:
            return set()

    def list_files(self, path: str) -> set[str]:
        """Paths of everything below directory `path` but directories, relative to it, without what belongs to the file
        system. Links are listed, not followed."""
        found = set()
        with self.directory(path) as fd:
            for base, directories, names, below in os.fwalk(dir_fd=fd):
                directories[:] = (name for name in directories if not is_system_entry(name))
                links = (name for name in directories if stat.S_ISLNK(os.lstat(name, dir_fd=below).st_mode))
                found |= {f"{base}/{name}".removeprefix("./") for name in (*names, *links) if not is_system_entry(name)}
        return found

    def make_directories(self, path: str) -> None:
        """Make directory `path` and its parents durably, with DIRECTORY_MODE whatever the umask is."""
        segments = path.split("/")
        for count in range(1, len(segments) + 1):
            with self._parent("/".join(segments[:count])) as (fd, name):
                try:
                    os.mkdir(name, DIRECTORY_MODE, dir_fd=fd)
                except FileExistsError:
                    continue
                made = os.open(name, _DIRECTORY, dir_fd=fd)
                try:
                    _set_mode(made, DIRECTORY_MODE)
                finally:
                    os.close(made)
                fsync_directory(fd)

    def open(self, path: str, flags: int) -> int:
        """Open regular file `path`; with O_CREAT it gets FILE_MODE. The caller closes the file descriptor."""
        with self._parent(path) as (fd, name):
            opened = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE, dir_fd=fd)
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                os.close(opened)
                raise OSError(f"{path} is not a regular file")
            if flags & os.O_CREAT:
                _set_mode(opened, FILE_MODE)
            return opened

    @contextlib.contextmanager
    def opened(self, path: str, flags: int) -> Iterator[int]:
        """As `open`, while the block runs."""
        fd = self.open(path, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def lstat(self, path: str) -> os.stat_result | None:
        """The status of `path` (of a link itself, not of its target), or None if it does not exist."""
        try:
            with self._parent(path) as (fd, name):
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def read(self, path: str, limit: int = 1 << 24) -> bytes | None:
        """The content of a small file, or None if it does not exist."""
        try:
            fd = self.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read(limit)

    def write_atomically(self, path: str, data: bytes) -> None:
        """Create or replace a small file atomically and durably."""
        temporary = f"{path}.new"
        self.remove(temporary)
        with os.fdopen(self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.rename(temporary, path)

    def symlink(self, target: str, path: str) -> None:
        """Create or replace symbolic link `path` to `target`, atomically and durably."""
        temporary = f"{path}.new"
        self.remove(temporary)
        with self._parent(temporary) as (fd, name):
            os.symlink(target, name, dir_fd=fd)
        self.rename(temporary, path)

    def link(self, file: str, path: str) -> None:
        """Create `path` as a hard link to `file`. Not durable until its directory is synced. Raises FileExistsError."""
        with self._parent(file) as (file_fd, file_name), self._parent(path) as (fd, name):
            os.link(file_name, name, src_dir_fd=file_fd, dst_dir_fd=fd, follow_symlinks=False)

    def readlink(self, path: str) -> str | None:
        """The target of symbolic link `path`, or None if there is no such link."""
        try:
            with self._parent(path) as (fd, name):
                return os.readlink(name, dir_fd=fd)
        except OSError:
            return None

    def rename(self, old: str, new: str) -> None:
        """Rename, and sync both directories."""
        self._clear_cache()
        with self._parent(old) as (old_fd, old_name), self._parent(new) as (new_fd, new_name):
            os.rename(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd)
            fsync_directory(new_fd)
            fsync_directory(old_fd)

    def remove(self, path: str) -> None:
        """Remove `path` and everything below it, if it exists. Links are removed, not followed."""
        if self._cached_path == path or self._cached_path.startswith(f"{path}/"):
            self._clear_cache()
        with contextlib.suppress(FileNotFoundError), self._parent(path) as (parent, name):
            try:
                os.unlink(name, dir_fd=parent)
            except (IsADirectoryError, PermissionError):
                for _, directories, files, fd in os.fwalk(name, topdown=False, dir_fd=parent):
                    for entry in files:
                        os.unlink(entry, dir_fd=fd)
                    for entry in directories:
                        _remove_directory(entry, fd)
                os.rmdir(name, dir_fd=parent)

    def sync_directory(self, path: str = "") -> None:
        """fsync directory `path`."""
        with self.directory(path) as fd:
            fsync_directory(fd)

    def disk_space(self) -> tuple[int, int]:
        """Bytes that this user may still allocate on the root's file system, and its capacity in bytes."""
        status = os.fstatvfs(self._fd)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    @contextlib.contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A file descriptor of directory `path` while the block runs."""
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
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """A file descriptor of the directory of `path` while the block runs, and the name of `path` in it."""
        parent, _, name = path.rpartition("/")
        if parent and parent == self._cached_path:
            fd = os.dup(self._cached_fd)
        else:
            with self.directory(parent) as found:
                fd = os.dup(found)
            self._clear_cache()
            self._cached_path, self._cached_fd = parent, os.dup(fd)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _clear_cache(self) -> None:
        """Close the cached parent: its path may be another directory's from now on."""
        if self._cached_fd >= 0:
            os.close(self._cached_fd)
        self._cached_path, self._cached_fd = "", -1


def fsync_directory(fd: int) -> None:
    """fsync(2) of a directory. Some file systems (SMB, some FUSE) have none, and nothing else makes names durable
    there."""
    can_sync_directory(fd)


def can_sync_directory(fd: int) -> bool:
    """fsync(2) of a directory. False if the file system has none."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
        return False
    return True


def _set_mode(fd: int, mode: int) -> None:
    """fchmod(2), where the file system has modes. FAT has none, and some servers of NFS and SMB refuse a change."""
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def _remove_directory(name: str, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:  # os.fwalk lists a link to a directory as a directory
        os.unlink(name, dir_fd=parent)
