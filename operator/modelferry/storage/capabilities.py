"""What the file system of a target directory can do, and errors about what it cannot do. Blocking."""

from __future__ import annotations

import contextlib
import errno
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modelferry.errors import DiskError
from modelferry.storage import layout
from modelferry.storage.tree import Tree, can_sync_directory
from modelferry.values.quantities import size_text

_PROBE = f"{layout.STATE}/probe"

#: How file systems say that they lack an operation. EPERM: FAT; EACCES and EOPNOTSUPP: SMB; ENOSYS: FUSE.
_UNSUPPORTED = (
    errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EMLINK,
)  # fmt: skip
#: What file systems answer to a name that they cannot have, such as one with a colon (exFAT, SMB).
_INVALID_NAME = (errno.EINVAL, errno.ENOENT, errno.EILSEQ, errno.ENAMETOOLONG)
_REMEDY = "use a directory on another file system, such as ext4, XFS or NFS"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Without ``symlinks``, ``current`` is a directory instead of a link. Without ``directory_sync``, nothing makes the
    names of new files durable. Without ``case_sensitive``, ``a`` and ``A`` are one name."""

    symlinks: bool = True
    hard_links: bool = True
    directory_sync: bool = True
    case_sensitive: bool = True

    def notes(self) -> list[str]:
        """Messages for a person about what is missing and has a consequence."""
        notes = []
        if not self.symlinks:
            notes.append(
                f"this file system has no symbolic links, so {layout.CURRENT} is a directory;"
                " it is missing for a moment when a new revision replaces it"
            )
        if not self.directory_sync:
            notes.append("this file system cannot sync directories; after a power failure, run the same command again")
        return notes


def probe(tree: Tree) -> Capabilities:
    """Try them in the state directory of `tree`, and leave nothing there.

    Raises DiskError, which names what is missing and cannot be done without, and OSError.
    """
    tree.remove(_PROBE)
    tree.make_directories(_PROBE)
    try:
        with tree.directory(_PROBE) as fd:
            return _probe(tree, fd)
    finally:
        with contextlib.suppress(OSError):
            tree.remove(_PROBE)


def check_names(tree: Tree, paths: Sequence[str]) -> None:
    """Raise DiskError if two of `paths` are one name on a file system that ignores case."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in seen:
            raise unsuitable(tree, f"ignores case: {seen[folded]} and {path} are one name there")
        seen[folded] = path


@contextlib.contextmanager
def creating(tree: Tree, path: str, size: int) -> Iterator[None]:
    """While file `path` of `size` bytes is created: raise DiskError if the file system cannot have its name or size."""
    try:
        yield
    except OSError as error:
        if error.errno not in _INVALID_NAME:
            raise
        name = path.rpartition("/")[2]
        raise unsuitable(tree, f"cannot have a file with the name {name!r} ({error.strerror})") from error
    except DiskError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EFBIG:
            raise
        what = f"{path.rpartition('/')[2]}, which has {size_text(size)}"
        raise unsuitable(tree, f"cannot have {what} (FAT32 ends at 4 GiB)") from error


def unsuitable(tree: Tree, why: str) -> DiskError:
    """The error about a file system. `why`: the end of a sentence that begins with "the file system"."""
    return DiskError(f"{tree.root}: the file system {why}; {_REMEDY}", reason="UnsuitableFileSystem")


def _probe(tree: Tree, fd: int) -> Capabilities:
    for name in ("file", "other"):
        with tree.opened(f"{_PROBE}/{name}", os.O_RDWR | os.O_CREAT) as file:
            _require(tree, "write into the middle of a file", _write_backwards, file)
    _require(tree, "replace a file by a rename", os.rename, "other", "file", src_dir_fd=fd, dst_dir_fd=fd)
    os.mkdir("directory", dir_fd=fd)
    _require(tree, "rename a directory", os.rename, "directory", "renamed", src_dir_fd=fd, dst_dir_fd=fd)
    return Capabilities(
        symlinks=_can(os.symlink, "file", "link", dir_fd=fd),
        hard_links=_can(os.link, "file", "second", src_dir_fd=fd, dst_dir_fd=fd),
        directory_sync=can_sync_directory(fd),
        case_sensitive=tree.lstat(f"{_PROBE}/FILE") is None,
    )


def _write_backwards(fd: int) -> None:
    os.ftruncate(fd, 2)
    os.pwrite(fd, b"b", 1)
    os.pwrite(fd, b"a", 0)


def _can(operation: Callable[..., object], *arguments: Any, **options: Any) -> bool:
    try:
        operation(*arguments, **options)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _require(tree: Tree, what: str, operation: Callable[..., object], *arguments: Any, **options: Any) -> None:
    try:
        operation(*arguments, **options)
    except OSError as error:
        if error.errno not in (*_UNSUPPORTED, errno.ESPIPE, errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise unsuitable(tree, f"cannot {what} ({error.strerror})") from error
