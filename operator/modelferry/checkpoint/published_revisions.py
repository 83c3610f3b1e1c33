"""Where the published revisions of a target directory are, and which of them is current. Blocking; raises OSError.

``current`` is a symbolic link to ``revisions/<revision>``, or to ``.modelferry-hub`` in it (`hub_links`). On a file
system without symbolic links it is the directory of the current revision itself, and only the others are in
``revisions/``. Either is read on every file system: a target directory may have been copied from one to another.
"""

from __future__ import annotations

import errno
import stat

from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.errors import DamagedState, DirectoryBusy
from modelferry.storage import layout
from modelferry.storage.tree import Tree

#: How SMB and FUSE say that files below a directory are open, so that it cannot be renamed.
_IN_USE = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.ETXTBSY)


def current_revision(tree: Tree) -> str | None:
    """The revision that ``current`` points at or is, or None."""
    if (link := tree.readlink(layout.CURRENT)) is not None:
        directory, revision, *below = [*link.split("/"), ""]
        return revision if directory == layout.REVISIONS and revision and below in ([""], [layout.HUB, ""]) else None
    marker = marker_in(tree, layout.CURRENT)
    return marker.revision if marker is not None else None


def location(tree: Tree, revision: str) -> str:
    """The path of the directory in which `revision` is, if it is published."""
    if _is_directory(tree, layout.CURRENT) and current_revision(tree) == revision:
        return layout.CURRENT
    return layout.published_path(revision)


def read_marker(tree: Tree, revision: str) -> ReadyMarker | None:
    """The marker of `revision`, or None if there is none that can be read."""
    return marker_in(tree, location(tree, revision))


def set_current(tree: Tree, revision: str, *, below: str = "", symlinks: bool) -> None:
    """Make `revision`, which is published, the current one, or the directory `below` in it: by the rename of a link, or
    without `symlinks` by two renames of directories (never with `below`). After a crash between these there is no
    ``current``; a repetition completes the switch.

    Raises DirectoryBusy if a consumer keeps the former directory from being renamed, and DamagedState.
    """
    if _is_directory(tree, layout.CURRENT):
        before = current_revision(tree)
        if before is None:
            raise DamagedState(
                f"{tree.root / layout.CURRENT} is a directory without a READY marker; move it away, and run the same"
                " command again"
            )
        if before == revision and not symlinks:
            return
        _move_aside(tree, before)
    if symlinks:
        target = layout.published_path(revision, below)
        if tree.readlink(layout.CURRENT) != target:
            tree.symlink(target, layout.CURRENT)
        return
    tree.remove(layout.CURRENT)
    tree.rename(layout.published_path(revision), layout.CURRENT)


def _move_aside(tree: Tree, revision: str) -> None:
    """Move the directory ``current``, which has `revision`, to ``revisions/``."""
    tree.make_directories(layout.REVISIONS)
    # The same, if it was copied here from a file system with links by a program that followed the link.
    tree.remove(layout.published_path(revision))
    try:
        tree.rename(layout.CURRENT, layout.published_path(revision))
    except OSError as error:
        if error.errno not in _IN_USE:
            raise
        raise DirectoryBusy(
            f"{tree.root / layout.CURRENT}: {error.strerror}: this file system does not replace a directory while files"
            " in it are open; stop the programs that read the model, and run the same command again"
        ) from error


def _is_directory(tree: Tree, path: str) -> bool:
    status = tree.lstat(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def marker_in(tree: Tree, directory: str) -> ReadyMarker | None:
    """The marker in `directory`, or None if there is none that can be read."""
    try:
        data = tree.read(f"{directory}/{layout.READY_NAME}")
        return ReadyMarker.decode(data) if data is not None else None
    except (ValueError, NotADirectoryError):
        return None
