"""The files of a published revision in the layout of huggingface_hub's cache, by hard links: no byte is stored twice.

::

    BASE/models--owner--name/refs/main                   the commit
    BASE/models--owner--name/snapshots/<commit>/<path>   a hard link to the file of the revision

BASE is the revision's own directory if the files are also to be found under their own paths. Otherwise it is
``.modelferry-hub`` in it, which ``current`` points at then, and which has a READY marker of its own. The libraries look
up a file by its name in refs and snapshots. They need neither the blobs nor the symbolic links that they create
themselves. Blocking; raises OSError.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from modelferry.checkpoint import published_revisions
from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.errors import InvalidSpec
from modelferry.manifest import Manifest
from modelferry.resource.hub_cache import HubCache
from modelferry.storage import layout
from modelferry.storage.capabilities import Capabilities, unsuitable
from modelferry.storage.tree import Tree

#: Where a link is made before it replaces another file.
_TEMPORARY = f"{layout.STATE}/link"


def check_layout(tree: Tree, capabilities: Capabilities, cache: HubCache, manifest: Manifest) -> None:
    """Raise DiskError if the file system has no links for `cache`, and InvalidSpec if a file is in its way."""
    if not capabilities.hard_links:
        raise unsuitable(tree, "has no hard links, which spec.layout needs to store no file twice (plain needs none)")
    if not capabilities.symlinks and not cache.beside_plain:
        raise unsuitable(tree, "has no symbolic links, which spec.layout: huggingface needs (both and plain do not)")
    for entry in manifest.files:
        if cache.beside_plain and (entry.path == cache.folder or entry.path.startswith(f"{cache.folder}/")):
            raise InvalidSpec(
                f"spec.layout: the source itself has {entry.path}, where the layout both puts its own links; use the"
                " layout plain or huggingface"
            )


def lay_out(tree: Tree, marker: ReadyMarker, cache: HubCache | None) -> str:
    """Complete the layout `cache` (None: the files under their own paths) of the revision of `marker`, and write the
    READY marker of the layout. Returns BASE, relative to the directory of the revision. Idempotent."""
    if cache is None:
        return ""
    directory = published_revisions.location(tree, marker.revision)
    below = "" if cache.beside_plain else layout.HUB
    base = f"{directory}/{below}".rstrip("/")
    snapshot = cache.snapshot(marker.revision)
    _link_files(tree, directory, f"{base}/{snapshot}", [file.path for file in marker.files])
    for ref in cache.refs:
        path, commit = f"{base}/{cache.folder}/refs/{ref}", cache.commit(marker.revision).encode()
        if tree.read(path) != commit:
            tree.make_directories(path.rpartition("/")[0])
            tree.write_atomically(path, commit)
    wanted = replace(marker, snapshot=snapshot, plain=cache.beside_plain)
    if published_revisions.marker_in(tree, base) != wanted:
        tree.write_atomically(f"{base}/{layout.READY_NAME}", wanted.encode())
    return below


def snapshots(tree: Tree, revision: str) -> list[str]:
    """The directories in which the files of `revision` have links, as its READY markers say."""
    directory = published_revisions.location(tree, revision)
    bases = (directory, f"{directory}/{layout.HUB}")
    markers = ((base, published_revisions.marker_in(tree, base)) for base in bases)
    return [f"{base}/{marker.snapshot}" for base, marker in markers if marker is not None and marker.snapshot]


def restore_links(tree: Tree, revision: str, paths: Iterable[str]) -> None:
    """Make the links to the files `paths` of `revision` again where they are missing or lead to other files."""
    directory, wanted = published_revisions.location(tree, revision), list(paths)
    for snapshot in snapshots(tree, revision):
        _link_files(tree, directory, snapshot, wanted)


def is_linked(tree: Tree, path: str, link: str) -> bool:
    """Are both the same file?"""
    one, other = tree.lstat(path), tree.lstat(link)
    return one is not None and other is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _link_files(tree: Tree, directory: str, snapshot: str, paths: list[str]) -> None:
    changed = set()
    for path in paths:
        file, link = f"{directory}/{path}", f"{snapshot}/{path}"
        if tree.lstat(file) is None or is_linked(tree, file, link):
            continue
        parent = link.rpartition("/")[0]
        tree.make_directories(parent)
        changed.add(parent)
        with suppress(FileExistsError):
            tree.link(file, link)
            continue
        tree.remove(_TEMPORARY)
        tree.link(file, _TEMPORARY)
        tree.rename(_TEMPORARY, link)
    for parent in sorted(changed):
        tree.sync_directory(parent)
