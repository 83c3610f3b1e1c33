"""Chunks of one file that are committed together, on their way from what was reported to what is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.engine.checkpoint.api import WrittenChunk
from modelferry.engine.checkpoint.chunk_store import ChunkRow
from modelferry.engine.checkpoint.file_states import FileState


@dataclass(frozen=True, slots=True)
class Checked:
    """A chunk that was read back: its row as it will be committed, and whether it differs from before."""

    row: ChunkRow
    changed: bool


@dataclass(slots=True)
class Batch:
    """Chunks of one file that are committed together: ``passed`` are those that are as they should be."""

    state: FileState
    fd: int
    reports: dict[int, WrittenChunk]
    passed: dict[int, Checked] = field(default_factory=dict)

    @property
    def completes(self) -> bool:
        """With these the file is whole, and its digest, which grew while they were read, is right."""
        state, expected = self.state, self.state.entry.digest
        if state.verified or state.phase == "repairing" or state.running_digest.next < len(state.rows):
            return False
        done = {item.row.index for item in self.passed.values()}
        return all(row.done or row.index in done for row in state.rows) and (
            expected is None or str(state.running_digest) == str(expected)
        )
