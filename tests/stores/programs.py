"""The servers' programs, built into the cache: one minute each, two for MinIO."""

from __future__ import annotations

from pathlib import Path

from cluster import binaries, cache

_SOURCES = Path(__file__).parent / "go"


def minio() -> Path:
    """The object store MinIO."""
    return _built("minio", "github.com/minio/minio")


def registry() -> Path:
    """The registry of distribution/distribution."""
    return _built("registry", "github.com/distribution/distribution/v3/cmd/registry")


def _built(name: str, package: str) -> Path:
    source = _SOURCES / name
    directory = cache.built(
        name, cache.key_of(source), lambda directory: binaries.go_build(source, package, directory / name)
    )
    return directory / name
