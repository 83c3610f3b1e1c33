"""The metrics of a download, which the sidecar serves on ``GET /metrics``. docs/metrics.md lists them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from modelferry.messages import Progress
from modelferry.messages.exposition import Family, Sample, exposition
from modelferry.messages.progress import MIRROR_STATES

_MIRROR = ("mirror",)

FETCHED = Family("modelferry_fetched_bytes_total", "counter", "Content bytes received over the network.")
RETRIES = Family("modelferry_retries_total", "counter", "Attempts that failed and were retried.")
REHASHED = Family("modelferry_rehashed_chunks_total", "counter", "Chunks hashed again after an unclean boot.")
VERIFIED = Family("modelferry_verified_bytes", "gauge", "Bytes that are hashed, synced and committed.")
SIZE = Family("modelferry_model_bytes", "gauge", "Size of the model in bytes.")
CHUNKS = Family("modelferry_done_chunks", "gauge", "Chunks that are hashed, synced and committed.")
SPEED = Family("modelferry_speed_bytes_per_second", "gauge", "Current download speed in bytes per second.")
CONNECTIONS = Family("modelferry_connections", "gauge", "Open connections.")
MIRROR_STATE = Family(
    "modelferry_mirror_state", "gauge", "State of the mirror: 1 for the current state, 0 for the others.",
    ("mirror", "state"),
)  # fmt: skip
MIRROR_FETCHED = Family(
    "modelferry_mirror_fetched_bytes_total", "counter", "Content bytes received from the mirror.", _MIRROR
)
MIRROR_CHUNKS = Family("modelferry_mirror_chunks_total", "counter", "Chunks committed from the mirror.", _MIRROR)
MIRROR_RETRIES = Family("modelferry_mirror_retries_total", "counter", "Failed attempts at the mirror.", _MIRROR)
MIRROR_FALLBACKS = Family(
    "modelferry_mirror_fallbacks_total",
    "counter",
    "Times that the download fell back to the mirror because all preferred mirrors were down.",
    _MIRROR,
)
MIRROR_SPEED = Family(
    "modelferry_mirror_speed_bytes_per_second",
    "gauge",
    "Current download speed from the mirror in bytes per second.",
    _MIRROR,
)

FAMILIES = (
    FETCHED, RETRIES, REHASHED, VERIFIED, SIZE, CHUNKS, SPEED, CONNECTIONS,
    MIRROR_STATE, MIRROR_FETCHED, MIRROR_CHUNKS, MIRROR_RETRIES, MIRROR_FALLBACKS, MIRROR_SPEED,
)  # fmt: skip


def render_metrics(progress: Progress) -> str:
    """`progress` in the Prometheus text format."""
    return exposition(FAMILIES, _samples(progress))


def _samples(progress: Progress) -> Iterator[Sample]:
    yield Sample(FETCHED, progress.fetched)
    yield Sample(RETRIES, progress.retries)
    yield Sample(REHASHED, progress.rehashed)
    yield Sample(VERIFIED, progress.done)
    yield Sample(SIZE, progress.total)
    yield Sample(CHUNKS, progress.chunks)
    yield Sample(SPEED, round(progress.speed))
    yield Sample(CONNECTIONS, progress.connections)
    for mirror in progress.mirrors:
        for state in MIRROR_STATES:
            yield Sample(MIRROR_STATE, mirror.state == state, (mirror.name, state))
        yield Sample(MIRROR_FETCHED, mirror.fetched, (mirror.name,))
        yield Sample(MIRROR_CHUNKS, mirror.chunks, (mirror.name,))
        yield Sample(MIRROR_RETRIES, mirror.retries, (mirror.name,))
        yield Sample(MIRROR_FALLBACKS, mirror.fallbacks, (mirror.name,))
        yield Sample(MIRROR_SPEED, mirror.speed, (mirror.name,))
