"""A file arrived whole, from several mirrors, and its digest is wrong: which of them lied? Pure.

One mirror after the other is suspected: the chunks that it brought are fetched from others, and the whole digest is
compared again. Where two mirrors bring a chunk with the same bytes, nobody asks for it a third time; where they differ,
both are more suspect than those that do not. With one liar among the mirrors, the file comes out right at the latest
when its turn comes, and costs each chunk once more at most on the way; where no order of suspects helps, the source's
digest is wrong, or the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class CorruptionAttribution:
    """``came_from``: the mirror that brought each chunk last. ``agreed``: chunks that two mirrors brought alike.
    ``disputes``: (mirror, how often another one brought other bytes). ``round``: the chunks of ``suspect`` that are
    compared; ``changed``: at least one of them came different."""

    came_from: tuple[str, ...]
    agreed: frozenset[int] = frozenset()
    disputes: tuple[tuple[str, int], ...] = ()
    tried: frozenset[str] = frozenset()
    suspect: str = ""
    round: frozenset[int] = frozenset()
    changed: bool = False

    @classmethod
    def of(cls, runs: Iterable[tuple[str, int]], quarantined_mirrors: Collection[str] = ()) -> CorruptionAttribution:
        """Chunks in order as (mirror, count) runs. Those who lied before are suspected first."""
        came_from = tuple(mirror for mirror, count in runs for _ in range(count))
        return cls(came_from, disputes=tuple((name, len(came_from) + 1) for name in quarantined_mirrors))

    def next(self, usable: Collection[str]) -> CorruptionAttribution | None:
        """The next suspect, with the chunks to be fetched from the others; None where there is nobody left to suspect,
        or nobody else to ask."""
        counts = Counter(name for index, name in enumerate(self.came_from) if index not in self.agreed)
        left = [name for name in counts if name not in self.tried and set(usable) - {name}]
        if not left:
            return None
        disputes = dict(self.disputes)
        suspect = min(left, key=lambda name: (-disputes.get(name, 0), counts[name], name))
        chunks = {i for i, name in enumerate(self.came_from) if name == suspect and i not in self.agreed}
        return replace(self, suspect=suspect, round=frozenset(chunks), tried=self.tried | {suspect}, changed=False)

    def arrived(self, index: int, mirror: str, changed: bool) -> CorruptionAttribution:
        """Chunk `index` of the round came from `mirror`, with other bytes than before (`changed`) or the same."""
        before = self.came_from[index]
        came_from = (*self.came_from[:index], mirror, *self.came_from[index + 1 :])
        if mirror == before:
            return replace(self, changed=self.changed or changed)
        if not changed:
            return replace(self, came_from=came_from, agreed=self.agreed | {index})
        disputes = Counter(dict(self.disputes)) + Counter((before, mirror))
        return replace(self, came_from=came_from, disputes=tuple(sorted(disputes.items())), changed=True)
