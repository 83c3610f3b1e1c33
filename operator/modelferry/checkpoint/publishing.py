"""Publishes a verified revision. Blocking; the package describes the order (step 5). Raises OSError, sqlite3.Error,
MachineError."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from modelferry.checkpoint import hub_links, published_revisions, recovery
from modelferry.checkpoint.chunk_store import ChunkStore
from modelferry.checkpoint.current_history import forget_revisions, mounted_revisions, read_history, switch_current
from modelferry.checkpoint.file_states import FileState
from modelferry.checkpoint.ready_marker import ReadyFile, ReadyMarker
from modelferry.manifest import Manifest
from modelferry.messages.earlier_revisions import MountWindow, RetainedRevision
from modelferry.resource.hub_cache import HubCache
from modelferry.storage import file_io, layout
from modelferry.storage.syncer import Syncer
from modelferry.storage.tree import Tree

#: Files that are open at once while a revision is synced.
_OPEN_FILES = 64


def sync_revision(tree: Tree, manifest: Manifest, states: Sequence[FileState], syncer: Syncer) -> None:
    """Sync all incoming files and directories of the revision."""
    paths = [layout.incoming_path(manifest.revision, state.entry.path) for state in states]
    for start in range(0, len(paths), _OPEN_FILES):
        with ExitStack() as stack:
            fds = [stack.enter_context(tree.opened(path, os.O_RDWR)) for path in paths[start : start + _OPEN_FILES]]
            for error in syncer.sync(fds, file_io.fsync):
                if error is not None:
                    raise error
    for directory in sorted(recovery.directories(manifest)):
        tree.sync_directory(layout.incoming_path(manifest.revision, directory))


def publish_revision(
    tree: Tree,
    chunk_store: ChunkStore,
    manifest: Manifest,
    clock: Callable[[], float],
    *,
    symlinks: bool = True,
    hub_cache: HubCache | None = None,
) -> str | None:
    """Move the synced revision to its published path, write its READY marker, and point ``current`` at it. `clock`
    gives seconds since 1970; `symlinks`: the file system has them; `hub_cache`: its layout, if not plain. Returns the
    revision that was current before."""
    revision, now = manifest.revision, clock()
    tree.make_directories(layout.REVISIONS)
    tree.rename(layout.incoming_path(revision), layout.published_path(revision))
    chunk_store.mark_published(manifest, now)
    marker = _marker(chunk_store, manifest, now)
    below = hub_links.lay_out(tree, marker, hub_cache)
    if hub_cache is None or not hub_cache.beside_plain:
        tree.write_atomically(layout.marker_path(revision), marker.encode())
    return switch_current(tree, revision, clock, below=below, symlinks=symlinks)


def complete_publication(
    tree: Tree, revision: str, clock: Callable[[], float], *, symlinks: bool, hub_cache: HubCache | None
) -> None:
    """Make the published `revision` the current one: the last step of publishing, if a crash prevented it, if another
    one is current, or if it had another layout. The arguments are those of `publish_revision`."""
    marker = published_revisions.read_marker(tree, revision)
    below = hub_links.lay_out(tree, marker, hub_cache) if marker is not None else ""
    switch_current(tree, revision, clock, below=below, symlinks=symlinks)


def remove_old_revisions(
    tree: Tree, chunk_store: ChunkStore, previous: str | None, wanted: str, windows: Sequence[MountWindow]
) -> tuple[RetainedRevision, ...]:
    """Remove the published revisions that nobody needs any more, and return the earlier ones that stay.

    These are `previous` (see `revisions_to_remove`), and those that pods which mounted the model within `windows` may
    still read. The current one and `wanted` stay too.
    """
    markers = {name: published_revisions.read_marker(tree, name) for name in tree.list_names(layout.REVISIONS)}
    published = {name: marker.published if marker else 0.0 for name, marker in markers.items()}
    current = published_revisions.current_revision(tree)
    mounted = mounted_revisions(read_history(tree), windows, published)
    unneeded = set(revisions_to_remove(current or wanted, previous, published)) - mounted - {wanted}
    for name in sorted(unneeded):
        # The marker first: a revision that is partly removed must not look complete.
        tree.remove(layout.marker_path(name))
        tree.remove(layout.published_path(name, f"{layout.HUB}/{layout.READY_NAME}"))
        try:
            tree.remove(layout.published_path(name))
        except OSError as error:
            # NFS keeps the name of a file that a consumer has open. The next publication removes the rest.
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
        chunk_store.delete_revision(name)
    forget_revisions(tree, unneeded)
    retained = (name for name in sorted(published) if name not in (current, wanted) and name not in unneeded)
    sizes = {name: marker.bytes if marker else 0 for name, marker in markers.items()}
    return tuple(RetainedRevision(name, sizes[name], name in mounted) for name in retained)


def revisions_to_remove(revision: str, previous: str | None, published: Mapping[str, float]) -> list[str]:
    """Which of the `published` revisions (name to time) to remove while ``current`` points at `revision`, and pointed
    at `previous` before. Pure.

    The previous one stays, so that a rollback needs no download. If it is unknown, the newest of the others stays.
    """
    others = sorted((name for name in published if name != revision), key=lambda name: published[name], reverse=True)
    kept = previous if previous in others else next(iter(others), None)
    return sorted(name for name in others if name != kept)


def _marker(chunk_store: ChunkStore, manifest: Manifest, now: float) -> ReadyMarker:
    rows = {row.path: row for row in chunk_store.files(manifest.revision)}
    files = tuple(
        ReadyFile(entry.path, entry.size, rows[entry.path].digest, "verified" if entry.digest else "unknown")
        for entry in manifest.files
    )
    return ReadyMarker(manifest.revision, manifest.digest, manifest.size, now, files)
