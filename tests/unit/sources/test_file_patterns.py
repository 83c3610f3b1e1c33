"""Which of a bucket's objects are selected."""

from __future__ import annotations

import pytest

from modelferry.sources.file_patterns import selected


@pytest.mark.parametrize(
    ("path", "include", "exclude", "expected"),
    [
        ("a/b.bin", (), (), True),
        ("a/b.bin", ("*.bin",), (), True),
        ("a/b.bin", ("a/",), (), True),
        ("b/a/c", ("a/",), (), False),
        ("A.BIN", ("*.bin",), (), False),
        ("a.bin", ("*.bin",), ("a*",), False),
        ("a.bin", (), ("*.txt",), True),
    ],
)
def test_patterns(path: str, include: tuple[str, ...], exclude: tuple[str, ...], expected: bool) -> None:
    assert selected(path, include, exclude) is expected
