"""The state machines of a chunk and of a file, as tables. Pure.

`FileDownload.advance_chunk` and `FileStateMachine.advance` look every change of state up here; docs/engine.md shows the
same tables. A pair that is not in a table is an error in this program, and raises KeyError.
"""

from __future__ import annotations

from enum import Enum


class ChunkState(Enum):
    """``PENDING``: its bytes are missing, and nothing of them is kept. ``FETCHING``: attempts fetch it, in one or more
    parts, or its next part waits for a connection. ``WRITTEN``: all bytes are in the file, and the checkpoint is to
    commit them. ``COMMITTED``: its row in chunks.db is durable."""

    PENDING = "pending"
    FETCHING = "fetching"
    WRITTEN = "written"
    COMMITTED = "committed"


class ChunkEvent(Enum):
    """What happens to a chunk. ``WITHDRAWN``: its attempts were cancelled, since another mirror fetches it sooner, or
    since its parts are of different versions. ``REOPENED``: it is fetched again to compare it."""

    STARTED = "attempt started"
    PART_WRITTEN = "part written"
    LAST_PART_WRITTEN = "last part written"
    FAILED = "attempt failed"
    COMMITTED = "committed"
    REJECTED = "rejected by the checkpoint"
    WITHDRAWN = "withdrawn"
    REOPENED = "reopened"


class ChunkAction(Enum):
    """What becomes of the record of a chunk, its `ChunkAssembly`."""

    BEGIN = "begin the assembly"
    CONTINUE = "continue the assembly"
    ADD = "add the bytes to the assembly"
    DISCARD = "discard the assembly"
    DONE = "discard the assembly; the chunk is not missing any more"
    MISSING = "the chunk is missing again"


CHUNK_TRANSITIONS: dict[tuple[ChunkState, ChunkEvent], tuple[ChunkState, ChunkAction]] = {
    (ChunkState.PENDING, ChunkEvent.STARTED): (ChunkState.FETCHING, ChunkAction.BEGIN),
    (ChunkState.PENDING, ChunkEvent.COMMITTED): (ChunkState.COMMITTED, ChunkAction.DONE),  # by a stream
    (ChunkState.PENDING, ChunkEvent.WITHDRAWN): (ChunkState.PENDING, ChunkAction.DISCARD),
    (ChunkState.FETCHING, ChunkEvent.STARTED): (ChunkState.FETCHING, ChunkAction.CONTINUE),
    (ChunkState.FETCHING, ChunkEvent.PART_WRITTEN): (ChunkState.FETCHING, ChunkAction.ADD),
    (ChunkState.FETCHING, ChunkEvent.LAST_PART_WRITTEN): (ChunkState.WRITTEN, ChunkAction.ADD),
    (ChunkState.FETCHING, ChunkEvent.FAILED): (ChunkState.FETCHING, ChunkAction.ADD),
    (ChunkState.FETCHING, ChunkEvent.WITHDRAWN): (ChunkState.PENDING, ChunkAction.DISCARD),
    (ChunkState.WRITTEN, ChunkEvent.COMMITTED): (ChunkState.COMMITTED, ChunkAction.DONE),
    (ChunkState.WRITTEN, ChunkEvent.REJECTED): (ChunkState.PENDING, ChunkAction.DISCARD),
    (ChunkState.WRITTEN, ChunkEvent.WITHDRAWN): (ChunkState.PENDING, ChunkAction.DISCARD),
    (ChunkState.COMMITTED, ChunkEvent.WITHDRAWN): (ChunkState.COMMITTED, ChunkAction.DONE),
    (ChunkState.COMMITTED, ChunkEvent.REOPENED): (ChunkState.PENDING, ChunkAction.MISSING),
}


class FileState(Enum):
    """``FETCHING``: chunks are missing. ``VERIFYING``: all are committed, and the checkpoint compares the digest.
    ``ATTRIBUTING``: the digest differs, and the chunks of a suspected mirror are fetched from others. ``COMPARING``: it
    differs, and one chunk after the other is fetched again. ``RESTARTING``: the checkpoint begins a new generation.
    ``VERIFIED``: the digest matches."""

    FETCHING = "fetching"
    VERIFYING = "verifying"
    ATTRIBUTING = "attributing"
    COMPARING = "comparing"
    RESTARTING = "restarting"
    VERIFIED = "verified"


class FileEvent(Enum):
    """What happens to a file. ``COMPLETE`` and ``UNCHANGED``: its last missing chunk is committed, with a byte that was
    not compared yet, or with the same bytes as before. ``INTERRUPTED``: its attempts ended or were cancelled, and it is
    to go on. ``SUSPECT`` and ``NO_SUSPECT``: the digest differs still, and
    there is a mirror whose chunks others can be asked for, or there is none. ``STREAM_DIFFERS``: the digest of a file
    differs that came as one response. ``RESTART``: what is there of the file cannot be completed."""

    COMPLETE = "complete"
    UNCHANGED = "complete, unchanged"
    INTERRUPTED = "interrupted"
    NO_RANGES = "no location serves ranges"
    DIGEST_MATCHES = "digest matches"
    CHUNKS_LOST = "chunks are lost on the disk"
    SUSPECT = "digest differs, a mirror is suspected"
    NO_SUSPECT = "digest differs, no mirror is suspected"
    STREAM_DIFFERS = "digest of a stream differs"
    RESTART = "restart"
    GENERATION_OPENED = "generation opened"


class FileAction(Enum):
    """What the `FileStateMachine` does when the state has changed."""

    NONE = "none"
    QUEUE_MISSING = "queue what is missing"
    COMPARE_DIGEST = "compare the digest"
    QUARANTINE_SUSPECT = "quarantine the suspect, if there is one"
    FETCH_FROM_OTHERS = "fetch the suspect's chunks from others"
    FETCH_NEXT_CHUNK = "fetch the next chunk again, or fail: DigestMismatch"
    FETCH_STREAM_AGAIN = "restart once, or fail: DigestMismatch"
    RESTART = "cancel its attempts; begin a generation"


FILE_TRANSITIONS: dict[tuple[FileState, FileEvent], tuple[FileState, FileAction]] = {
    (FileState.FETCHING, FileEvent.COMPLETE): (FileState.VERIFYING, FileAction.COMPARE_DIGEST),
    (FileState.FETCHING, FileEvent.UNCHANGED): (FileState.COMPARING, FileAction.FETCH_NEXT_CHUNK),
    (FileState.FETCHING, FileEvent.INTERRUPTED): (FileState.FETCHING, FileAction.QUEUE_MISSING),
    (FileState.FETCHING, FileEvent.NO_RANGES): (FileState.FETCHING, FileAction.QUEUE_MISSING),
    (FileState.FETCHING, FileEvent.RESTART): (FileState.RESTARTING, FileAction.RESTART),
    (FileState.VERIFYING, FileEvent.DIGEST_MATCHES): (FileState.VERIFIED, FileAction.QUARANTINE_SUSPECT),
    (FileState.VERIFYING, FileEvent.CHUNKS_LOST): (FileState.FETCHING, FileAction.QUEUE_MISSING),
    (FileState.VERIFYING, FileEvent.SUSPECT): (FileState.ATTRIBUTING, FileAction.FETCH_FROM_OTHERS),
    (FileState.VERIFYING, FileEvent.NO_SUSPECT): (FileState.COMPARING, FileAction.FETCH_NEXT_CHUNK),
    (FileState.VERIFYING, FileEvent.STREAM_DIFFERS): (FileState.RESTARTING, FileAction.FETCH_STREAM_AGAIN),
    (FileState.VERIFYING, FileEvent.INTERRUPTED): (FileState.VERIFYING, FileAction.COMPARE_DIGEST),
    (FileState.VERIFYING, FileEvent.RESTART): (FileState.RESTARTING, FileAction.RESTART),
    (FileState.ATTRIBUTING, FileEvent.COMPLETE): (FileState.VERIFYING, FileAction.COMPARE_DIGEST),
    (FileState.ATTRIBUTING, FileEvent.SUSPECT): (FileState.ATTRIBUTING, FileAction.FETCH_FROM_OTHERS),
    (FileState.ATTRIBUTING, FileEvent.NO_SUSPECT): (FileState.COMPARING, FileAction.FETCH_NEXT_CHUNK),
    (FileState.ATTRIBUTING, FileEvent.INTERRUPTED): (FileState.ATTRIBUTING, FileAction.QUEUE_MISSING),
    (FileState.ATTRIBUTING, FileEvent.NO_RANGES): (FileState.FETCHING, FileAction.QUEUE_MISSING),
    (FileState.ATTRIBUTING, FileEvent.RESTART): (FileState.RESTARTING, FileAction.RESTART),
    (FileState.COMPARING, FileEvent.COMPLETE): (FileState.VERIFYING, FileAction.COMPARE_DIGEST),
    (FileState.COMPARING, FileEvent.UNCHANGED): (FileState.COMPARING, FileAction.FETCH_NEXT_CHUNK),
    (FileState.COMPARING, FileEvent.INTERRUPTED): (FileState.COMPARING, FileAction.QUEUE_MISSING),
    (FileState.COMPARING, FileEvent.NO_RANGES): (FileState.FETCHING, FileAction.QUEUE_MISSING),
    (FileState.COMPARING, FileEvent.RESTART): (FileState.RESTARTING, FileAction.RESTART),
    (FileState.RESTARTING, FileEvent.COMPLETE): (FileState.RESTARTING, FileAction.NONE),
    (FileState.RESTARTING, FileEvent.UNCHANGED): (FileState.RESTARTING, FileAction.NONE),
    (FileState.RESTARTING, FileEvent.GENERATION_OPENED): (FileState.FETCHING, FileAction.QUEUE_MISSING),
    (FileState.VERIFIED, FileEvent.RESTART): (FileState.RESTARTING, FileAction.RESTART),
}
