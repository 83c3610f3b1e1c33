"""Directories below a root, reached by descriptor one component at a time, so that no symbolic link leads elsewhere.

For the only process that runs as root on a node: whoever may write in a model's directory must not be able to make it
create, own or remove anything outside.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from modelferry.errors import DirectoryBusy, DiskError, ForeignDirectory, InvalidSpec

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
#: Group-writable and set-group-ID: exactly what the kubelet looks for on a volume's root under
#: fsGroupChangePolicy OnRootMismatch, so that it does not walk over the whole model at each pod's start.
_MODE = 0o2775
_TRIES = 10
#: Directories deeper than this are moved up before they are removed: a tree's depth is its writer's choice, and
#: neither descriptors nor the stack may run out over it.
_DEEPEST = 32
#: Enough for any tree that is not being written to; one that is comes out as DirectoryBusy.
_MOST_PASSES = 10_000


def parse_path(text: str) -> tuple[str, str]:
    """``NAMESPACE/NAME``, both DNS labels as Kubernetes has them. Raises InvalidSpec."""
    namespace, _, name = text.partition("/")
    if not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
        raise InvalidSpec(f"path {text!r} is not NAMESPACE/NAME; each is at most 63 characters of a-z, 0-9 and '-'")
    return namespace, name


def make(root: Path, namespace: str, name: str, *, uid: int, gid: int) -> None:
    """Make ``root/namespace/name``, owned by `uid` and `gid`; one that stands is made so.

    Raises DiskError, and ForeignDirectory where a component is a link or a file.
    """
    with _below(root) as top:
        for attempt in count(1):
            try:
                with _made(top, namespace) as outer, _made(outer, name) as inner:
                    os.fchown(inner, uid, gid)
                    os.fchmod(inner, _MODE)
                return
            except FileNotFoundError:
                # A removal in the same namespace found it empty just before.
                if attempt == _TRIES:
                    raise


def remove(root: Path, namespace: str, name: str) -> None:
    """Remove ``root/namespace/name`` with all that is in it, then the namespace's directory if that is empty.

    What is not there is as good as removed. Raises DiskError, ForeignDirectory (a link, a file, or a mount inside), and
    DirectoryBusy while somebody writes there.
    """
    with _below(root) as top:
        with suppress(FileNotFoundError), _opened(top, namespace) as outer:
            _remove_tree(outer, name)
        try:
            os.rmdir(namespace, dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise


@contextmanager
def _below(root: Path) -> Iterator[int]:
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        where = f"{root}: {error.filename}" if isinstance(error.filename, str) else str(root)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ForeignDirectory(f"{where} is not a directory but a link or a file; move it away") from error
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            raise DirectoryBusy(f"{where} is still in use; it is tried again") from error
        raise DiskError(f"{where}: {error.strerror}; check the node's disk") from error


@contextmanager
def _opened(parent: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _made(parent: int, name: str) -> Iterator[int]:
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
        os.fsync(parent)
    with _opened(parent, name) as descriptor:
        yield descriptor


def _remove_tree(parent: int, name: str) -> None:
    with _opened(parent, name) as top:
        _same_file_system(parent, top, name)
        for _ in range(_MOST_PASSES):
            if not _empty(top, top, depth=1):
                break
    os.rmdir(name, dir_fd=parent)


def _empty(directory: int, top: int, depth: int) -> bool:
    """Remove what is in `directory`, or move it to `top`; says whether there was anything."""
    with os.scandir(directory) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in listed:
        with suppress(FileNotFoundError):
            if not is_directory:
                os.unlink(name, dir_fd=directory)
            elif depth == _DEEPEST:
                os.rename(name, f"deep-{secrets.token_hex(8)}", src_dir_fd=directory, dst_dir_fd=top)
            else:
                with _opened(directory, name) as inner:
                    _same_file_system(directory, inner, name)
                    _empty(inner, top, depth + 1)
                os.rmdir(name, dir_fd=directory)
    return bool(listed)


def _same_file_system(outer: int, inner: int, name: str) -> None:
    if os.fstat(outer).st_dev != os.fstat(inner).st_dev:
        raise ForeignDirectory(f"{name}: another file system is mounted there; unmount it")
