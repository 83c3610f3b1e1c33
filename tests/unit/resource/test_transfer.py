"""What follows from spec.transfer."""

from __future__ import annotations

import pytest

from modelferry.resource.transfer import Transfer


@pytest.mark.parametrize(("progress", "resolve"), [(10.0, 10.0), (60.0, 60.0), (300.0, 60.0), (3600.0, 3600.0)])
def test_a_progress_deadline_that_is_raised_or_short_holds_for_resolving_too(progress: float, resolve: float) -> None:
    assert Transfer(progress_deadline=progress).resolve_deadline == resolve
