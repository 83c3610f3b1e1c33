"""A download's metrics: what the sidecar answers on ``GET /metrics``. docs/metrics.md has the table. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from modelferry.messages import Progress
from modelferry.messages.exposition import Family, Sample, exposition
from modelferry.messages.progress import MIRROR_STATES

_MIRROR = ("mirror",)

FETCHED = Family("modelferry_fetched_bytes_total", "counter", "Bytes of content that came over the network.")
RETRIES = Family("modelferry_retries_total", "counter", "Tries that had to be made again.")
REHASHED = Family("modelferry_rehashed_chunks_total", "counter", "Chunks hashed again after an unclean boot.")
VERIFIED = Family("modelferry_verified_bytes", "gauge", "Bytes that are hashed, synced and recorded.")
SIZE = Family("modelferry_model_bytes", "gauge", "Bytes of the model.")
CHUNKS = Family("modelferry_done_chunks", "gauge", "Chunks that are hashed, synced and recorded.")
SPEED = Family("modelferry_speed_bytes_per_second", "gauge", "Speed over the last seconds.")
CONNECTIONS = Family("modelferry_connections", "gauge", "Open connections.")
STATE = Family(
    "modelferry_mirror_state", "gauge", "1 for the state that the mirror is in, 0 for the others.", ("mirror", "state")
)
M_FETCHED = Family("modelferry_mirror_fetched_bytes_total", "counter", "Bytes of content from the mirror.", _MIRROR)
M_CHUNKS = Family("modelferry_mirror_chunks_total", "counter", "Chunks recorded as the mirror's.", _MIRROR)
M_RETRIES = Family("modelferry_mirror_retries_total", "counter", "Tries at the mirror that brought nothing.", _MIRROR)
M_FALLBACKS = Family(
    "modelferry_mirror_fallbacks_total",
    "counter",
    "Times that work came to the mirror since all that are preferred were down.",
    _MIRROR,
)
M_SPEED = Family(
    "modelferry_mirror_speed_bytes_per_second", "gauge", "The mirror's speed over the last seconds.", _MIRROR
)

FAMILIES = (
    FETCHED, RETRIES, REHASHED, VERIFIED, SIZE, CHUNKS, SPEED, CONNECTIONS,
    STATE, M_FETCHED, M_CHUNKS, M_RETRIES, M_FALLBACKS, M_SPEED,
)  # fmt: skip


def metrics(progress: Progress) -> str:
    """`progress` as Prometheus reads it."""
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
            yield Sample(STATE, mirror.state == state, (mirror.name, state))
        yield Sample(M_FETCHED, mirror.fetched, (mirror.name,))
        yield Sample(M_CHUNKS, mirror.chunks, (mirror.name,))
        yield Sample(M_RETRIES, mirror.retries, (mirror.name,))
        yield Sample(M_FALLBACKS, mirror.fallbacks, (mirror.name,))
        yield Sample(M_SPEED, mirror.speed, (mirror.name,))
