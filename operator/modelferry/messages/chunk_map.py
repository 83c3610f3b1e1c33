"""How the chunks of a model stand, as one letter each: what ``GET /v1/chunks`` answers, and what ``inspect`` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

#: The letters, the worst first: bad is a chunk that was done once and is to be fetched again; in flight, one that bytes
#: are coming for.
BAD, FLYING, PENDING, DONE = "b", "i", "p", "d"
ORDER = (BAD, FLYING, PENDING, DONE)

#: Cells of one map: more than a terminal shows, and a message of some 10 KB at worst. A model of 64 GiB has as many
#: chunks.
MAX_CELLS = 4096

_RUN = re.compile(r"(\d{1,9})([bipd])")


def runs(letters: Iterable[str]) -> str:
    """Letters as run lengths: ``dddip`` is ``3d1i1p``."""
    return "".join(f"{sum(1 for _ in group)}{letter}" for letter, group in groupby(letters))


def spread(text: str) -> str:
    """The reverse of `runs`; raises ValueError where `text` is none, or is of more than `MAX_CELLS`."""
    found = list(_RUN.finditer(text))
    if "".join(match[0] for match in found) != text or sum(int(match[1]) for match in found) > MAX_CELLS:
        raise ValueError(f"not a map of chunks: {text[:40]!r}")
    return "".join(match[2] * int(match[1]) for match in found)


def shrink(letters: str, most: int) -> tuple[str, int]:
    """`letters` in at most `most` cells, and how many letters a cell stands for: each shows its worst one."""
    scale = max(1, -(-len(letters) // max(most, 1)))
    if scale == 1:
        return letters, 1
    cells = (letters[start : start + scale] for start in range(0, len(letters), scale))
    return "".join(next(letter for letter in ORDER if letter in cell) for cell in cells), scale


@dataclass(frozen=True, slots=True)
class ChunkMap:
    """All chunks of a model, in the manifest's order. ``cells``: a letter for every ``scale`` chunks of ``chunks``;
    ``done``, ``flying`` and ``bad`` count chunks."""

    revision: str = ""
    chunks: int = 0
    done: int = 0
    flying: int = 0
    bad: int = 0
    scale: int = 1
    cells: str = ""

    @classmethod
    def of(cls, revision: str, letters: str) -> ChunkMap:
        """The map of chunks whose letters are known."""
        cells, scale = shrink(letters, MAX_CELLS)
        counts = (letters.count(DONE), letters.count(FLYING), letters.count(BAD))
        return cls(revision, len(letters), *counts, scale, cells)

    def encode(self) -> str:
        """JSON, one line; ``cells`` as run lengths."""
        return json.dumps(asdict(self) | {"cells": runs(self.cells)}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str | bytes) -> ChunkMap:
        """The map in an answer; raises ValueError where it is none."""
        try:
            body: Any = json.loads(text)
            known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
            return cls(**known | {"cells": spread(known.get("cells", ""))})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a map of chunks: {error}") from error
