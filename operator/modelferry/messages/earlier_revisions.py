"""Earlier revisions of a model: the controller tells the checkpoint when pods mounted the model, and the checkpoint,
which knows what was current then, tells which revisions stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MountWindow:
    """The time within which a pod mounted a model, in seconds since 1970. ``latest`` is None for a pod that may not
    have mounted it yet."""

    earliest: float
    latest: float | None = None

    def overlaps(self, began: float, ended: float | None, tolerance: float) -> bool:
        """Whether it has a moment in common with the time from `began` to `ended` (None: until now), or `tolerance`
        seconds before or after it."""
        return (self.latest is None or self.latest >= began - tolerance) and (
            ended is None or self.earliest <= ended + tolerance
        )


@dataclass(frozen=True, slots=True)
class RetainedRevision:
    """An earlier revision that stays on the disk. ``bytes``: of its files. ``mounted``: a running pod may read it."""

    revision: str
    bytes: int
    mounted: bool


def encode_windows(windows: Iterable[MountWindow]) -> str:
    """Such as ``1764330000-1764330007,1764330100-``, each once, in order."""
    texts = {f"{one.earliest:.0f}-{'' if one.latest is None else f'{one.latest:.0f}'}" for one in windows}
    return ",".join(sorted(texts))


def decode_windows(text: str) -> tuple[MountWindow, ...]:
    """The reverse of `encode_windows`. Raises ValueError."""
    pairs = [one.split("-") for one in text.split(",") if one]
    return tuple(MountWindow(float(earliest), float(latest) if latest else None) for earliest, latest in pairs)
