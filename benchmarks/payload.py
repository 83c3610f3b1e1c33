"""The files that the origin serves: generated from a seed, incompressible, with their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = 4 << 20
_ZEROS = memoryview(bytes(_BLOCK))


@dataclass(frozen=True, slots=True)
class FileSet:
    """``large`` files of ``large_size`` bytes each, and ``small`` files of ``small_size`` bytes each."""

    large: int = 1
    large_size: int = 0
    small: int = 0
    small_size: int = 0

    @property
    def size(self) -> int:
        """The sum of all sizes, in bytes."""
        return self.large * self.large_size + self.small * self.small_size

    @property
    def paths(self) -> Iterator[tuple[str, int]]:
        """Path and size of each file."""
        for number in range(self.large):
            yield f"weights/model-{number + 1:05d}-of-{self.large:05d}.safetensors", self.large_size
        for number in range(self.small):
            yield f"config/{number // 100:02d}/{number:05d}.json", self.small_size

    def __str__(self) -> str:
        parts = [_counted(self.large, self.large_size)] if self.large else []
        parts += [_counted(self.small, self.small_size)] if self.small else []
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """``size`` in bytes, the digest in hex."""

    path: str
    size: int
    sha256: str


def generate(root: Path, files: FileSet, seed: int = 1) -> tuple[GeneratedFile, ...]:
    """Write `files` below `root`; they are in the page cache afterwards, if the memory is large enough."""
    return tuple(_write(root, path, size, seed) for path, size in files.paths)


def _write(root: Path, path: str, size: int, seed: int) -> GeneratedFile:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{seed}:{path}".encode()).digest()
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for start in range(0, size, _BLOCK):
            piece = cipher.update(_ZEROS[: min(_BLOCK, size - start)])
            file.write(piece)
            digest.update(piece)
    return GeneratedFile(path, size, digest.hexdigest())


def _counted(count: int, size: int) -> str:
    text = next(
        (f"{size / unit:.3g} {name}" for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")) if size >= unit),
        f"{size} bytes",
    )
    return f"{count:,} file{'s of' if count > 1 else ' of'} {text}"
