"""The operator's metrics: what it knows of all artifacts, summed up. docs/metrics.md has the table. Pure but for the
counts, which are the process's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from modelferry.controller.facts import Object
from modelferry.controller.work_queue import Key
from modelferry.messages.exposition import Family, Sample, exposition, histogram
from modelferry.messages.progress import MIRROR_STATES

ARTIFACT_STATES = ("Ready", "Reconciling", "Stalled")
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

ARTIFACTS = Family("modelferry_artifacts", "gauge", "Artifacts by their state.", ("state",))
COPIES = Family("modelferry_copies", "gauge", "Copies wanted, on nodes and in claims.")
READY = Family("modelferry_ready_copies", "gauge", "Copies that are whole and verified.")
SIZE = Family("modelferry_wanted_bytes", "gauge", "Bytes of all copies wanted.")
VERIFIED = Family("modelferry_verified_bytes", "gauge", "Bytes of all copies that are hashed, synced and recorded.")
SPEED = Family("modelferry_speed_bytes_per_second", "gauge", "Of all downloads together, over the last seconds.")
MIRRORS = Family("modelferry_mirrors", "gauge", "Mirrors of all artifacts by their state.", ("state",))
FALLBACKS = Family(
    "modelferry_source_fallbacks_total",
    "counter",
    "Times that work was seen to come to a source since all mirrors preferred to it were down.",
)
RECONCILES = Family("modelferry_reconciles_total", "counter", "Looks at an artifact.", ("result",))
SECONDS = Family("modelferry_reconcile_duration_seconds", "histogram", "What a look at an artifact took.")

FAMILIES = (ARTIFACTS, COPIES, READY, SIZE, VERIFIED, SPEED, MIRRORS, FALLBACKS, RECONCILES, SECONDS)


class Metrics:
    """Remembers the last status of each artifact, and counts."""

    def __init__(self) -> None:
        self._statuses: dict[Key, Object] = {}
        self._results: Counter[str] = Counter(ok=0, error=0)
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0
        self._fallbacks = 0

    def reconciled(self, seconds: float, *, ok: bool) -> None:
        """A look took so long, and ended well or not."""
        self._results["ok" if ok else "error"] += 1
        self._seconds += seconds
        for bound in _BUCKETS:
            self._buckets[bound] += seconds <= bound

    def saw(self, key: Key, status: Object) -> None:
        """`status` is the artifact's."""
        self._statuses[key] = status

    def forget(self, key: Key) -> None:
        """The artifact is gone."""
        self._statuses.pop(key, None)

    def fell_back(self) -> None:
        """An artifact's work came to its source."""
        self._fallbacks += 1

    def text(self) -> str:
        """As Prometheus reads it."""
        return exposition(FAMILIES, self._samples())

    def _samples(self) -> Iterator[Sample]:
        statuses = self._statuses.values()
        states = Counter(_state(status) for status in statuses)
        for state in ARTIFACT_STATES:
            yield Sample(ARTIFACTS, states[state], (state,))
        nodes = [status.get("nodes") or {} for status in statuses]
        amounts = [status.get("bytes") or {} for status in statuses]
        yield Sample(COPIES, sum(one.get("total", 0) for one in nodes))
        yield Sample(READY, sum(one.get("ready", 0) for one in nodes))
        yield Sample(SIZE, sum(one.get("total", 0) for one in amounts))
        yield Sample(VERIFIED, sum(one.get("verified", 0) for one in amounts))
        yield Sample(SPEED, sum(one.get("perSecond", 0) for one in amounts))
        mirrors = Counter(mirror["state"] for status in statuses for mirror in status.get("mirrors") or [])
        for state in MIRROR_STATES:
            yield Sample(MIRRORS, mirrors[state], (state,))
        yield Sample(FALLBACKS, self._fallbacks)
        for result, count in sorted(self._results.items()):
            yield Sample(RECONCILES, count, (result,))
        buckets = {bound: self._buckets[bound] for bound in _BUCKETS}
        yield from histogram(SECONDS, buckets, self._seconds, self._results.total())


def _state(status: Object) -> str:
    """Stalled where a person is needed, whatever else goes on."""
    found = {condition["type"] for condition in status.get("conditions") or [] if condition["status"] == "True"}
    return next((state for state in ("Stalled", "Ready") if state in found), "Reconciling")
