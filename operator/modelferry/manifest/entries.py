"""The Manifest: every file's path, size, digest and places, pinned to one revision. The same on all nodes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from modelferry.manifest.paths import path_error

#: Git's name of a blob: SHA-1 over ``blob <size>``, a zero byte, and the content (git-hash-object(1)).
GIT_SHA1 = "git-sha1"

#: Hex digits of each digest that a source may declare for a whole file.
DIGEST_LENGTHS = {"sha256": 64, "md5": 32, GIT_SHA1: 40}

#: Those of them that a person or a checksum list gives.
LISTED = ("sha256", "md5")

#: Hex digits of the content id that make a revision: 48 bits, and short enough to read out and to fit a label.
_REVISION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Digest:
    """A whole file's digest as its source declares it: ``algorithm`` is sha256, md5 or git-sha1, ``hex`` is lower
    case."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = DIGEST_LENGTHS.get(self.algorithm)
        if length is None:
            raise ValueError(f"{self.algorithm!r} is not one of {', '.join(DIGEST_LENGTHS)}")
        if not re.fullmatch(rf"[0-9a-f]{{{length}}}", self.hex):
            raise ValueError(f"a {self.algorithm} digest is {length} lower-case hexadecimal digits, not {self.hex!r}")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``algorithm:hex``; raises ValueError."""
        algorithm, _, value = text.partition(":")
        return cls(algorithm, value)


#: The mirror that a place belongs to where nothing else is said: ``spec.source`` itself.
SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Location:
    """One URL of a file; ``mirror`` names the server for rows, metrics and messages (never compared across mirrors)."""

    url: str
    mirror: str = SOURCE


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: its relative path, size in bytes, digest (None where the source knows none) and places by preference.

    ``validator`` is the strong ETag seen when the source was resolved; it stands in for a digest that nobody knows, so
    that a changed file makes a changed revision. It is empty where a digest is known.
    """

    path: str
    size: int
    digest: Digest | None
    locations: tuple[Location, ...]
    validator: str = ""

    def __post_init__(self) -> None:
        if error := path_error(self.path):
            raise ValueError(f"path {self.path!r}: {error}")
        if self.size < 0:
            raise ValueError(f"{self.path}: size {self.size} is negative")
        if not self.locations:
            raise ValueError(f"{self.path}: has no place to be fetched from")


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of one revision, sorted by path. ``revision`` is label-safe and at most 63 characters."""

    revision: str
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        paths = [file.path for file in self.files]
        if not paths:
            raise ValueError("a manifest has at least one file")
        if paths != sorted(set(paths)):
            raise ValueError("a manifest's files are sorted by path, each path once")
        directories = {path[:i] for path in paths for i, letter in enumerate(path) if letter == "/"}
        if clash := sorted(directories & set(paths)):
            raise ValueError(f"{clash[0]!r} is a file and a directory at once")
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", self.revision):
            raise ValueError(f"revision {self.revision!r} is not usable as a label's value")

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """``sha256:…`` over what the files are (not where they are): the model's own digest."""
        return f"sha256:{content_id(self.files)}"


def content_id(files: tuple[FileEntry, ...]) -> str:
    """64 hex digits over path, size and digest (or validator) of every file; where they come from does not count."""
    facts = [[f.path, f.size, str(f.digest) if f.digest else f.validator] for f in sorted(files, key=lambda f: f.path)]
    return hashlib.sha256(json.dumps(facts, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def pin(files: tuple[FileEntry, ...]) -> Manifest:
    """The manifest of files whose source has no revision of its own: the revision is derived from the content."""
    ordered = tuple(sorted(files, key=lambda file: file.path))
    return Manifest(content_id(ordered)[:_REVISION_LENGTH], ordered)
