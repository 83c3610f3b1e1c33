"""When a download gives up."""

from __future__ import annotations

from modelferry.engine.pacing import ProgressDeadline


def test_only_time_without_progress_exceeds_the_deadline() -> None:
    deadline = ProgressDeadline(seconds=60.0, last_progress=100.0)
    assert not deadline.is_exceeded(160.0)
    assert deadline.is_exceeded(160.1)
    assert not deadline.record_progress(150.0).is_exceeded(210.0)
