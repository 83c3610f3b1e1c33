"""The layout of a target directory, as paths relative to it. `checkpoint` describes it."""

from __future__ import annotations

STATE = ".modelferry"
LOCK = f"{STATE}/lock"
DATABASE = f"{STATE}/chunks.db"
INCOMING = f"{STATE}/incoming"
REVISIONS = "revisions"
CURRENT = "current"
READY_NAME = ".modelferry-ready.json"


def incoming_path(revision: str, path: str = "") -> str:
    """A file of a revision that is being fetched, or the directory of that revision."""
    return f"{INCOMING}/{revision}/{path}".rstrip("/")


def published_path(revision: str, path: str = "") -> str:
    """A file of a published revision, or the directory of that revision."""
    return f"{REVISIONS}/{revision}/{path}".rstrip("/")


def marker_path(revision: str) -> str:
    """The READY marker of a published revision."""
    return published_path(revision, READY_NAME)


def foreign_entry(names: set[str]) -> str | None:
    """The first of the `names` in a target directory if that directory is not Modelferry's, otherwise None.

    An empty directory may be used, and so may a new ext4 file system with its lost+found.
    """
    if STATE in names:
        return None
    return min(names - {"lost+found"}, default=None)
