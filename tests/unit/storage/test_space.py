"""The check for enough disk space."""

from __future__ import annotations

import pytest

from modelferry.errors import InsufficientSpace
from modelferry.storage.space import RESERVE, check_space

GIB = 1 << 30


def test_enough_space_is_no_error() -> None:
    check_space("/data", 10 * GIB, 4 * GIB, 6 * GIB + RESERVE, 20 * GIB)
    check_space("/data", 10 * GIB, 10 * GIB, 0, 20 * GIB)


def test_a_disk_that_is_too_small_is_reported_with_numbers() -> None:
    with pytest.raises(InsufficientSpace) as caught:
        check_space("/data", 10 * GIB, 4 * GIB, 2 * GIB, 12 * GIB)
    assert caught.value.shortfall == 4 * GIB + RESERVE
    assert caught.value.message == (
        "/data: 4.0 GiB are missing: the model of 10 GiB needs 6 GiB more (and 16 MiB for its records), but 2 GiB of"
        " 12 GiB are free; free some space or use a larger disk"
    )
