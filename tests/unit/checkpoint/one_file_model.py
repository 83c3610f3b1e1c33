"""A checkpoint worker on a model of one file with four chunks."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from random import Random

from modelferry.checkpoint.api import CommitResult, WrittenChunk
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed

CHUNK = 4096
DATA = Random(3).randbytes(3 * CHUNK + 100)


def manifest(content: bytes = DATA) -> Manifest:
    """Of ``d/a``, with the digest of `content`."""
    return content_addressed(
        (FileEntry("d/a", len(DATA), Digest("sha256", hashlib.sha256(content).hexdigest()), (Location("https://x/"),)),)
    )


def next_process(worker: CheckpointWorker, boot_id: str = "boot-1") -> CheckpointWorker:
    """Close the worker; returns one of the next process on the same directory."""
    worker.close()
    return CheckpointWorker(worker.root, boot_id=boot_id, clock=lambda: 2000.0)


def incoming_file(worker: CheckpointWorker) -> Path:
    """The preallocated file."""
    return worker.root / ".modelferry" / "incoming" / worker.manifest.revision / "d" / "a"


def write(worker: CheckpointWorker, *indices: int, data: bytes = DATA) -> None:
    """Write chunks as the fetching side does."""
    with incoming_file(worker).open("r+b") as file:
        for index in indices:
            file.seek(index * CHUNK)
            file.write(data[index * CHUNK : (index + 1) * CHUNK])


def written_chunk(worker: CheckpointWorker, index: int, **changes: object) -> WrittenChunk:
    """The report of a chunk that was written; `changes` to it."""
    facts = {"generation": 0, "inode": incoming_file(worker).stat().st_ino, "validator": '"v"', "mirror": "m"} | changes
    return WrittenChunk(0, index, **facts)  # type: ignore[arg-type]


def fetch(worker: CheckpointWorker, *indices: int, data: bytes = DATA) -> list[CommitResult]:
    """Write and commit chunks."""
    write(worker, *indices, data=data)
    return worker.commit_chunks([written_chunk(worker, index) for index in indices])


def rows(worker: CheckpointWorker) -> list[tuple[object, ...]]:
    """The rows of chunks in chunks.db."""
    db = sqlite3.connect(worker.root / ".modelferry" / "chunks.db")
    try:
        return list(db.execute('SELECT "index", start, "end", status, etag, mirror, generation FROM chunks'))
    finally:
        db.close()
