"""The states of a model's chunks, one letter each, for ``GET /v1/chunks`` and for ``modelferry inspect``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

#: The letters, the worst state first. Bad: the chunk was done and has to be fetched again. In flight: bytes of it are
#: being received.
BAD, IN_FLIGHT, PENDING, DONE = "b", "i", "p", "d"
WORST_FIRST = (BAD, IN_FLIGHT, PENDING, DONE)

#: Cells of one map: more than a terminal shows, and a message of about 10 KB in the worst case. A model of 64 GiB has
#: as many chunks.
MAX_CELLS = 4096

_RUN = re.compile(r"(\d{1,9})([bipd])")


def encode_runs(letters: Iterable[str]) -> str:
    """Run-length encoding of letters: ``dddip`` is ``3d1i1p``."""
    return "".join(f"{sum(1 for _ in group)}{letter}" for letter, group in groupby(letters))


def decode_runs(text: str) -> str:
    """The reverse of `encode_runs`; raises ValueError if `text` is not valid, or has more than `MAX_CELLS`."""
    found = list(_RUN.finditer(text))
    if "".join(match[0] for match in found) != text or sum(int(match[1]) for match in found) > MAX_CELLS:
        raise ValueError(f"not a chunk map: {text[:40]!r}")
    return "".join(match[2] * int(match[1]) for match in found)


def downsample(letters: str, max_cells: int) -> tuple[str, int]:
    """`letters` in at most `max_cells` cells, and the letters per cell: each cell shows the worst of its letters."""
    scale = max(1, -(-len(letters) // max(max_cells, 1)))
    if scale == 1:
        return letters, 1
    cells = (letters[start : start + scale] for start in range(0, len(letters), scale))
    return "".join(next(letter for letter in WORST_FIRST if letter in cell) for cell in cells), scale


@dataclass(frozen=True, slots=True)
class ChunkMap:
    """All chunks of a model, in manifest order. ``chunks``, ``done``, ``in_flight`` and ``bad`` count chunks;
    ``cells`` has one letter for every ``scale`` chunks."""

    revision: str = ""
    chunks: int = 0
    done: int = 0
    in_flight: int = 0
    bad: int = 0
    scale: int = 1
    cells: str = ""

    @classmethod
    def from_letters(cls, revision: str, letters: str) -> ChunkMap:
        """The map of chunks with these letters."""
        cells, scale = downsample(letters, MAX_CELLS)
        counts = (letters.count(DONE), letters.count(IN_FLIGHT), letters.count(BAD))
        return cls(revision, len(letters), *counts, scale, cells)

    def encode(self) -> str:
        """JSON in one line; ``cells`` run-length encoded."""
        return json.dumps(asdict(self) | {"cells": encode_runs(self.cells)}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str | bytes) -> ChunkMap:
        """The map in a response; raises ValueError if it has none."""
        try:
            body: Any = json.loads(text)
            known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
            return cls(**known | {"cells": decode_runs(known.get("cells", ""))})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a chunk map: {error}") from error
