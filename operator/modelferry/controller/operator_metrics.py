"""The operator's metrics: sums over the statuses of all artifacts, and counters of this process (docs/metrics.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from modelferry.controller.facts import Object
from modelferry.controller.work_queue import Key
from modelferry.messages.exposition import Family, Sample, exposition, histogram
from modelferry.messages.progress import MIRROR_STATES

ARTIFACT_STATES = ("Ready", "Reconciling", "Stalled")
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

ARTIFACTS = Family("modelferry_artifacts", "gauge", "Number of artifacts by state.", ("state",))
COPIES = Family("modelferry_copies", "gauge", "Number of desired copies, on nodes and in claims.")
READY = Family("modelferry_ready_copies", "gauge", "Number of complete copies.")
SIZE = Family("modelferry_wanted_bytes", "gauge", "Total size of the desired copies in bytes.")
VERIFIED = Family("modelferry_verified_bytes", "gauge", "Bytes of all copies that are hashed, synced and committed.")
SPEED = Family(
    "modelferry_speed_bytes_per_second",
    "gauge",
    "Current download rate of all downloads together, in bytes per second.",
)
MIRRORS = Family("modelferry_mirrors", "gauge", "Number of mirrors of all artifacts by state.", ("state",))
FALLBACKS = Family(
    "modelferry_source_fallbacks_total",
    "counter",
    "Number of observed fallbacks to a source because all preferred mirrors were down.",
)
RECONCILES = Family("modelferry_reconciles_total", "counter", "Number of reconciliations by result.", ("result",))
SECONDS = Family("modelferry_reconcile_duration_seconds", "histogram", "Duration of a reconciliation in seconds.")

FAMILIES = (ARTIFACTS, COPIES, READY, SIZE, VERIFIED, SPEED, MIRRORS, FALLBACKS, RECONCILES, SECONDS)


class Metrics:
    """The last status of each artifact, and the counters."""

    def __init__(self) -> None:
        self._statuses: dict[Key, Object] = {}
        self._results: Counter[str] = Counter(ok=0, error=0)
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0
        self._fallbacks = 0

    def reconciled(self, seconds: float, *, ok: bool) -> None:
        """Count a reconciliation and its duration."""
        self._results["ok" if ok else "error"] += 1
        self._seconds += seconds
        for bound in _BUCKETS:
            self._buckets[bound] += seconds <= bound

    def update(self, key: Key, status: Object) -> None:
        """Set the artifact's current status."""
        self._statuses[key] = status

    def forget(self, key: Key) -> None:
        """Drop an artifact that is gone."""
        self._statuses.pop(key, None)

    def source_fallbacks(self, count: int) -> None:
        """Count fallbacks to a source."""
        self._fallbacks += count

    def text(self) -> str:
        """All metrics in the Prometheus text format."""
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
    """Stalled takes precedence: a person is needed, whatever else is in progress."""
    found = {condition["type"] for condition in status.get("conditions") or [] if condition["status"] == "True"}
    return next((state for state in ("Stalled", "Ready") if state in found), "Reconciling")
