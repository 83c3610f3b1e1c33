"""A file is complete, from several mirrors, and its digest is wrong: which of them served corrupt data? Pure.

One mirror after the other is suspected: in a round, the chunks that it served are fetched from others, and the file's
digest is compared again. A chunk that two mirrors serve with the same bytes is not fetched a third time; if they
differ, both are more suspect than those that do not. With one corrupt mirror, the file's digest is right at the latest
after its round, and until then each chunk is fetched once more at most. If no order of suspects helps, the source's
digest is wrong, or the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class CorruptionAttribution:
    """``served_by``: the mirror that served each chunk last. ``confirmed``: chunks that two mirrors served with the
    same bytes. ``disputes``: (mirror, how often another one served other bytes). ``suspected``: the suspects of all
    rounds so far. ``round``: the chunks of ``suspect`` that are compared; ``changed``: at least one of them arrived
    with other bytes."""

    served_by: tuple[str, ...]
    confirmed: frozenset[int] = frozenset()
    disputes: tuple[tuple[str, int], ...] = ()
    suspected: frozenset[str] = frozenset()
    suspect: str = ""
    round: frozenset[int] = frozenset()
    changed: bool = False

    @classmethod
    def of(cls, runs: Iterable[tuple[str, int]], quarantined_mirrors: Collection[str] = ()) -> CorruptionAttribution:
        """Chunks in order as (mirror, count) runs. Mirrors that served corrupt data before are suspected first."""
        served_by = tuple(mirror for mirror, count in runs for _ in range(count))
        return cls(served_by, disputes=tuple((name, len(served_by) + 1) for name in quarantined_mirrors))

    def next_round(self, usable: Collection[str]) -> CorruptionAttribution | None:
        """With the next suspect, whose chunks are to be fetched from the others; None if there is no suspect left, or
        no other mirror."""
        counts = Counter(name for index, name in enumerate(self.served_by) if index not in self.confirmed)
        left = [name for name in counts if name not in self.suspected and set(usable) - {name}]
        if not left:
            return None
        disputes = dict(self.disputes)
        suspect = min(left, key=lambda name: (-disputes.get(name, 0), counts[name], name))
        chunks = {i for i, name in enumerate(self.served_by) if name == suspect and i not in self.confirmed}
        suspected = self.suspected | {suspect}
        return replace(self, suspect=suspect, round=frozenset(chunks), suspected=suspected, changed=False)

    def record_chunk(self, index: int, mirror: str, changed: bool) -> CorruptionAttribution:
        """After `mirror` served chunk `index` of the round, with other bytes than before (`changed`) or the same."""
        before = self.served_by[index]
        served_by = (*self.served_by[:index], mirror, *self.served_by[index + 1 :])
        if mirror == before:
            return replace(self, changed=self.changed or changed)
        if not changed:
            return replace(self, served_by=served_by, confirmed=self.confirmed | {index})
        disputes = Counter(dict(self.disputes)) + Counter((before, mirror))
        return replace(self, served_by=served_by, disputes=tuple(sorted(disputes.items())), changed=True)
