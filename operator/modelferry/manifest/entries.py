"""The Manifest: the path, size, digest and locations of every file of one revision. It is the same on all nodes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from modelferry.manifest.paths import path_error
from modelferry.values.urls import redact_url

#: The object ID of a Git blob: SHA-1 over ``blob <size>``, a zero byte, and the content (git-hash-object(1)).
GIT_SHA1 = "git-sha1"

#: The hex digits of each digest that a source may declare for a file.
DIGEST_LENGTHS = {"sha256": 64, "md5": 32, GIT_SHA1: 40}

#: Those of them that a user or a checksum list may give.
LISTED_ALGORITHMS = ("sha256", "md5")

#: The hex digits of the content ID that make a revision: 48 bits are short enough to read out and fit a label.
_REVISION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's digest as its source declares it. ``algorithm`` is one of `DIGEST_LENGTHS`; ``hex`` is lower case."""

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
        """The digest in ``algorithm:hex``. Raises ValueError if it is not valid."""
        algorithm, _, value = text.partition(":")
        return cls(algorithm, value)


#: The mirror name of ``spec.source`` itself.
SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Location:
    """One URL of a file. ``mirror`` is the name of the mirror in metrics, messages and the chunk store."""

    url: str
    mirror: str = SOURCE


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: its relative path, size in bytes, digest (None if the source declares none) and locations in order of
    preference.

    Without a digest, two other fields take its place in the content ID, so that a changed file changes the revision.
    ``validator`` is what the server sent when the source was resolved (an ETag in any form, or Last-Modified); the
    download refuses another one. ``version`` is the commit that the locations name, where a hub reports it.
    """

    path: str
    size: int
    digest: Digest | None
    locations: tuple[Location, ...]
    validator: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        if error := path_error(self.path):
            raise ValueError(f"path {self.path!r}: {error}")
        if self.size < 0:
            raise ValueError(f"{self.path}: size {self.size} is negative")
        if not self.locations:
            raise ValueError(f"{self.path}: has no location")


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of one revision, sorted by path. ``revision`` is a valid label value of at most 63 characters."""

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
    def undeclared(self) -> tuple[FileEntry, ...]:
        """The files without a digest: nothing says whether their content is right."""
        return tuple(file for file in self.files if file.digest is None)

    @property
    def unpinned(self) -> tuple[FileEntry, ...]:
        """Those of them that their source may replace by others of the same size without anyone noticing."""
        return tuple(file for file in self.undeclared if not file.validator and not file.version)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """``sha256:…`` over what the files are, not where they are: the digest of the model."""
        return f"sha256:{content_id(self.files)}"


def content_id(files: tuple[FileEntry, ...]) -> str:
    """64 hex digits over the path, size and digest of every file, or what takes the digest's place.

    Locations do not count, except for a file that nothing else tells from another of the same size: there the URL of
    its source does, without its query, which may be a signature.
    """
    facts = [[file.path, file.size, _identity(file)] for file in sorted(files, key=lambda file: file.path)]
    return hashlib.sha256(json.dumps(facts, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def _identity(file: FileEntry) -> str:
    return str(file.digest) if file.digest else file.validator or file.version or redact_url(file.locations[0].url)


def content_addressed(files: tuple[FileEntry, ...]) -> Manifest:
    """The manifest of `files` from a source without revisions: the revision is the start of the content ID."""
    ordered = tuple(sorted(files, key=lambda file: file.path))
    return Manifest(content_id(ordered)[:_REVISION_LENGTH], ordered)
