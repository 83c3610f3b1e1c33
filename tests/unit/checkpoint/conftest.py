"""Fixtures for the tests of the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelferry.checkpoint.worker import CheckpointWorker
from unit.checkpoint.one_file_model import CHUNK, manifest


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 4 KiB."""
    monkeypatch.setattr("modelferry.manifest.chunks.CHUNK_SIZE", CHUNK)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[CheckpointWorker]:
    """A worker that has opened an empty directory."""
    worker = CheckpointWorker(tmp_path, boot_id="boot-1", clock=lambda: 1000.0)
    worker.open(manifest())
    yield worker
    worker.close()
