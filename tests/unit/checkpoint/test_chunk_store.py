"""Quarantined mirrors are recorded in chunks.db."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from modelferry.checkpoint.api import QuarantinedMirror
from modelferry.checkpoint.chunk_store_reader import read_quarantined
from modelferry.checkpoint.worker import CheckpointWorker
from unit.checkpoint.one_file_model import manifest, next_process

CORRUPT_MIRROR = QuarantinedMirror("lab", "https://lab/d/a", "served wrong bytes of d/a")


def test_a_quarantine_outlives_its_process(worker: CheckpointWorker) -> None:
    worker.quarantine(CORRUPT_MIRROR)
    worker.quarantine(CORRUPT_MIRROR)
    after = next_process(worker)
    assert after.open(manifest()).quarantined == (CORRUPT_MIRROR,)
    after.close()


def test_a_quarantine_is_of_one_revision(worker: CheckpointWorker) -> None:
    worker.quarantine(CORRUPT_MIRROR)
    after = next_process(worker)
    assert after.open(manifest(b"another one")).quarantined == ()
    after = next_process(after)
    assert after.open(manifest()).quarantined == ()
    after.close()


def test_a_database_without_quarantines_gets_them(worker: CheckpointWorker) -> None:
    worker.close()
    with closing(sqlite3.connect(worker.root / ".modelferry" / "chunks.db")) as db:
        db.execute("DROP TABLE quarantine")
    assert read_quarantined(worker.root / ".modelferry" / "chunks.db", manifest().revision) == ()
    after = next_process(worker)
    assert after.open(manifest()).notes == ()
    after.quarantine(CORRUPT_MIRROR)
    after.close()
    assert read_quarantined(worker.root / ".modelferry" / "chunks.db", manifest().revision) == (CORRUPT_MIRROR,)
