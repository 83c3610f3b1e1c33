"""A cache of build results, each under a key of all its inputs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = 3  # versions of one build result, for switching between branches
KEY_LENGTH = 16  # hexadecimal digits


def root() -> Path:
    """The cache's directory, created if it does not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(home) / "modelferry"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def key_of(*parts: str | Path) -> str:
    """A key of texts and of files (a directory stands for all files under it, with their names and contents)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for name, content in _contents(part):
                _feed(digest, name.encode(), content)
        else:
            _feed(digest, part.encode())
    return digest.hexdigest()[:KEY_LENGTH]


def _feed(digest: hashlib._Hash, *fields: bytes) -> None:
    for field in fields:  # the length first, so that different lists of fields never feed the same bytes
        digest.update(len(field).to_bytes(8, "big") + field)


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    files: Iterable[Path] = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        relative = file.relative_to(path) if path.is_dir() else Path(file.name)
        if file.is_file() and "__pycache__" not in file.parts and not any(p.endswith(".egg-info") for p in file.parts):
            yield str(relative), file.read_bytes()


@contextmanager
def lock(file: Path) -> Iterator[None]:
    """Holds an exclusive lock; the kernel releases it when the process ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def built(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory of `name` built under `key`; `build(directory)` fills it if it is not in the cache.

    Concurrent callers build it once. A killed build leaves only a partial directory, which the next build removes.
    """
    home = root() / name
    done = home / key
    if not done.is_dir():
        with lock(home / ".lock"):
            if not done.is_dir():
                _build(home, done, build)
    os.utime(done)
    return done


def _build(home: Path, done: Path, build: Callable[[Path], None]) -> None:
    for partial in home.glob("*.partial"):
        shutil.rmtree(partial)
    partial = done.with_suffix(".partial")
    partial.mkdir(parents=True)
    started = time.monotonic()
    print(f"cluster: building {home.name} ...", flush=True)
    build(partial)
    partial.rename(done)
    print(f"cluster: built {home.name} in {time.monotonic() - started:.0f} s", flush=True)
    versions = sorted((d for d in home.iterdir() if d.is_dir()), key=lambda d: d.stat().st_mtime, reverse=True)
    for version in versions[KEPT:]:
        shutil.rmtree(version)
