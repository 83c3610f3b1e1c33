"""The layout of a target directory, as paths relative to it. `checkpoint` describes it."""

from __future__ import annotations

from pathlib import Path

from modelferry.errors import ForeignDirectory
from modelferry.storage.system_entries import is_system_entry

STATE = ".modelferry"
LOCK = f"{STATE}/lock"
DATABASE = f"{STATE}/chunks.db"
HISTORY = f"{STATE}/current.json"
INCOMING = f"{STATE}/incoming"
REVISIONS = "revisions"
CURRENT = "current"
READY_NAME = ".modelferry-ready.json"
#: In a revision: its files in the layout of a Hugging Face cache.
HUB = ".modelferry-hub"


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

    An empty directory may be used, and so may one that has only what file systems put there, such as lost+found.
    """
    if STATE in names:
        return None
    return min((name for name in names if not is_system_entry(name)), default=None)


def refuse_foreign(directory: Path, names: set[str]) -> None:
    """Raise ForeignDirectory if `directory`, which has the entries `names`, is not Modelferry's."""
    if (name := foreign_entry(names)) is not None:
        raise ForeignDirectory(
            f"{directory} contains {name!r} and no {STATE}, so it is not Modelferry's; use an empty directory"
        )
