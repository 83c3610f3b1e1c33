"""The cache of build results."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from cluster import cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _write(directory: Path) -> None:
    (directory / "product").write_text("made")


def _fail(directory: Path) -> None:
    _write(directory)
    raise RuntimeError("the build failed")


def test_a_key_depends_on_names_and_contents(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a.py").write_text("1")
    first = cache.key_of(source, "flag")
    assert cache.key_of(source, "flag") == first
    assert cache.key_of(source, "other flag") != first
    (source / "sub" / "a.py").rename(source / "sub" / "b.py")
    renamed = cache.key_of(source, "flag")
    assert renamed != first
    (source / "sub" / "b.py").write_text("2")
    assert cache.key_of(source, "flag") not in (first, renamed)


def test_a_key_ignores_files_that_python_generates(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = cache.key_of(tmp_path)
    for left in ("__pycache__/a.pyc", "modelferry.egg-info/PKG-INFO"):
        (tmp_path / left).parent.mkdir()
        (tmp_path / left).write_text("x")
    assert cache.key_of(tmp_path) == first


def test_a_key_depends_on_the_boundaries_of_its_parts() -> None:
    assert cache.key_of("ab", "c") != cache.key_of("a", "bc")


def test_concurrent_callers_build_once() -> None:
    builds: list[Path] = []
    together = Barrier(2)

    def build(directory: Path) -> None:
        builds.append(directory)
        _write(directory)

    def builder() -> Path:
        together.wait()
        return cache.built("thing", "key", build)

    with ThreadPoolExecutor() as pool:
        first, second = (future.result() for future in [pool.submit(builder), pool.submit(builder)])
    assert first == second
    assert (first / "product").read_text() == "made"
    assert len(builds) == 1


def test_a_failed_build_is_not_used() -> None:
    with pytest.raises(RuntimeError):
        cache.built("thing", "key", _fail)
    assert (cache.root() / "thing" / "key.partial").exists()
    assert (cache.built("thing", "key", _write) / "product").exists()
    assert not list((cache.root() / "thing").glob("*.partial"))


def test_only_the_latest_versions_are_kept() -> None:
    made = [cache.built("thing", f"key{number}", _write) for number in range(cache.KEPT + 2)]
    assert [directory.exists() for directory in made] == [False] * 2 + [True] * cache.KEPT
