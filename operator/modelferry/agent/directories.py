"""Creates and removes directories below a root. Each path component is opened by its descriptor, without following
symbolic links.

Only this process runs as root on a node. A user who may write to a model's directory must not be able to make it
create, own or remove anything outside.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from modelferry.agent import directory_owners
from modelferry.agent.directory_owners import Owner
from modelferry.errors import DirectoryBusy, DiskError, ForeignDirectory, InvalidSpec
from modelferry.messages.owned_directories import OwnedDirectory
from modelferry.resource.names import DNS_LABEL
from modelferry.storage.system_entries import is_system_entry
from modelferry.storage.tree import fsync_directory

#: Group-writable and set-group-ID: what the kubelet checks on a volume's root under fsGroupChangePolicy OnRootMismatch,
#: so that it does not change every file of the model at each pod's start.
_MODE = 0o2775
_CREATE_ATTEMPTS = 10
#: How file systems say that they have no owners or modes.
_NO_OWNERS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
#: Directories deeper than this are moved up before they are removed: a user chooses the tree's depth, and it must not
#: exhaust the descriptors or the stack.
_MAX_DEPTH = 32
#: Enough for any tree that nobody writes to. Otherwise the removal fails with DirectoryBusy.
_MAX_PASSES = 10_000


def parse_path(text: str) -> tuple[str, str]:
    """Split ``NAMESPACE/NAME``, two DNS labels. Raises InvalidSpec."""
    namespace, _, name = text.partition("/")
    if not DNS_LABEL.fullmatch(namespace) or not DNS_LABEL.fullmatch(name):
        raise InvalidSpec(f"path {text!r} is not NAMESPACE/NAME; each is at most 63 characters of a-z, 0-9 and '-'")
    return namespace, name


def create_directory(root: Path, namespace: str, name: str, *, uid: int, gid: int, owner: Owner | None = None) -> None:
    """Create ``root/namespace/name``, owned by `uid` and `gid`. An existing one gets this owner and the mode. `owner`:
    the artifact, which is recorded before the directory exists.

    Raises DiskError, and ForeignDirectory if a component is a link or a file.
    """
    with _opened_root(root) as top:
        for attempt in count(1):
            try:
                with _created(top, namespace) as outer:
                    if owner is not None:
                        directory_owners.lock_namespace(outer)
                        directory_owners.write_owner(outer, name, owner)
                    with _created(outer, name) as inner:
                        _give(inner, f"{root}/{namespace}/{name}", uid, gid)
                return
            except FileNotFoundError:
                # Another removal in the namespace has just removed the empty directory.
                if attempt == _CREATE_ATTEMPTS:
                    raise


def _give(directory: int, path: str, uid: int, gid: int) -> None:
    """Make `directory` the one of `uid` and `gid`. A file system without owners and modes (FAT, SMB) has those of its
    mount, which must be the right ones. Raises DiskError."""
    try:
        os.fchown(directory, uid, gid)
        os.fchmod(directory, _MODE)
    except OSError as error:
        if error.errno not in _NO_OWNERS:
            raise
        status = os.fstat(directory)
        if status.st_uid != uid or status.st_mode & 0o700 != 0o700:
            raise DiskError(
                f"{path}: the file system has no owners ({error.strerror}), and what it has belongs to user"
                f" {status.st_uid}; mount it with uid={uid},gid={gid}, or use another one",
                reason="UnsuitableFileSystem",
            ) from error


def remove_directory(root: Path, namespace: str, name: str, *, owner: Owner | None = None) -> None:
    """Remove ``root/namespace/name``, its content and its record, then the namespace's directory if that is empty. With
    `owner`, only if it is recorded as this artifact's.

    A missing directory is not an error. Raises DiskError, ForeignDirectory (a link, a file, or a mount inside), and
    DirectoryBusy while another process writes there.
    """
    with _opened_root(root) as top:
        with suppress(FileNotFoundError), _opened(top, namespace) as outer:
            if owner is not None:
                directory_owners.lock_namespace(outer)
            if owner is None or directory_owners.read_owner(outer, name) == owner:
                with suppress(FileNotFoundError):
                    _remove_tree(outer, name)
                directory_owners.remove_owner(outer, name)
        try:
            os.rmdir(namespace, dir_fd=top)
        except OSError as error:
            # EBUSY: a file system is mounted there.
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise


def list_directories(root: Path, cluster: str) -> list[OwnedDirectory]:
    """The directories below `root` that are recorded as those of artifacts in `cluster`. Raises DiskError."""
    found = []
    with _opened_root(root) as top:
        with os.scandir(top) as entries:
            namespaces = sorted(entry.name for entry in entries)
        for namespace in namespaces:
            # What is no directory, or has another name, is not ours.
            with suppress(FileNotFoundError, NotADirectoryError), _namespace(top, namespace) as outer:
                for name in directory_owners.recorded_names(outer):
                    owner = directory_owners.read_owner(outer, name)
                    if DNS_LABEL.fullmatch(name) and owner is not None and owner.cluster == cluster:
                        found.append(OwnedDirectory(namespace, name, owner.uid))
    return found


@contextmanager
def _namespace(top: int, name: str) -> Iterator[int]:
    if not DNS_LABEL.fullmatch(name):
        raise NotADirectoryError(name)
    with _opened(top, name) as descriptor:
        yield descriptor


@contextmanager
def _opened_root(root: Path) -> Iterator[int]:
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
            raise DirectoryBusy(f"{where} is still in use; the removal is retried") from error
        raise DiskError(f"{where}: {error.strerror}; check the node's disk") from error


@contextmanager
def _opened(parent: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _created(parent: int, name: str) -> Iterator[int]:
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
        fsync_directory(parent)
    with _opened(parent, name) as descriptor:
        yield descriptor


def _remove_tree(parent: int, name: str) -> None:
    with _opened(parent, name) as top:
        _check_same_file_system(parent, top, name)
        for _ in range(_MAX_PASSES):
            if not _remove_content(top, top, depth=1):
                break
    os.rmdir(name, dir_fd=parent)


def _remove_content(directory: int, top: int, depth: int) -> bool:
    """Remove the content of `directory`, or move it to `top`. Returns whether there was any that can be removed."""
    with os.scandir(directory) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    removed = False
    for name, is_directory in listed:
        try:
            _remove_entry(directory, name, is_directory, top, depth)
        except FileNotFoundError:
            pass
        except (OSError, ForeignDirectory):
            # Such as .snapshot, which nobody can remove, and which does not keep its directory from being removed.
            if not is_system_entry(name):
                raise
            continue
        removed = True
    return removed


def _remove_entry(directory: int, name: str, is_directory: bool, top: int, depth: int) -> None:
    if not is_directory:
        os.unlink(name, dir_fd=directory)
    elif depth == _MAX_DEPTH:
        os.rename(name, f"deep-{secrets.token_hex(8)}", src_dir_fd=directory, dst_dir_fd=top)
    else:
        with _opened(directory, name) as inner:
            _check_same_file_system(directory, inner, name)
            _remove_content(inner, top, depth + 1)
        os.rmdir(name, dir_fd=directory)


def _check_same_file_system(outer: int, inner: int, name: str) -> None:
    if os.fstat(outer).st_dev != os.fstat(inner).st_dev:
        raise ForeignDirectory(f"{name}: another file system is mounted there; unmount it")
