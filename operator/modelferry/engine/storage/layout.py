"""Where things lie in a target directory, as paths relative to it. `checkpoint` explains what they are."""

from __future__ import annotations

STATE = ".modelferry"
LOCK = f"{STATE}/lock"
DATABASE = f"{STATE}/chunks.db"
INCOMING = f"{STATE}/incoming"
REVISIONS = "revisions"
CURRENT = "current"
READY_NAME = ".modelferry-ready.json"


def incoming(revision: str, path: str = "") -> str:
    """A file of a revision that is being fetched, or that revision's directory."""
    return f"{INCOMING}/{revision}/{path}".rstrip("/")


def published(revision: str, path: str = "") -> str:
    """A file of a published revision, or that revision's directory."""
    return f"{REVISIONS}/{revision}/{path}".rstrip("/")


def ready(revision: str) -> str:
    """The READY marker of a revision."""
    return published(revision, READY_NAME)


def foreign(names: set[str]) -> str | None:
    """A name in a target directory that shows it to be somebody else's, or None.

    An empty directory is ours to take, and so is a fresh ext4 file system with its lost+found.
    """
    if STATE in names:
        return None
    return min(names - {"lost+found"}, default=None)
