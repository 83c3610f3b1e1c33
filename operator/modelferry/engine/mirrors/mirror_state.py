"""What is known of a mirror: its settings, what the download observed, and a frozen snapshot of both for decisions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelferry.engine.mirrors.breaker import BreakerState, CircuitBreaker
from modelferry.engine.pacing import ConcurrencyController, Load, RateMeter, stream_meter
from modelferry.messages import progress
from modelferry.messages.progress import DOWN, RECOVERING, UP, MirrorProgress

#: Seconds between two probes of a mirror that gets no other requests.
PROBE_INTERVAL = 30.0

_REPORTED_STATES = {
    BreakerState.CLOSED: UP,
    BreakerState.OPEN: DOWN,
    BreakerState.HALF_OPEN: RECOVERING,
    BreakerState.QUARANTINED: progress.QUARANTINED,
}


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror's rank, as SRV records have it (RFC 2782): the healthy ones of the lowest ``priority`` share the work;
    ``weight`` multiplies the rate that each is credited with. ``probe_interval``: seconds between two probes."""

    name: str
    priority: int
    weight: int = 1
    probe_interval: float = PROBE_INTERVAL


@dataclass(frozen=True, slots=True)
class MirrorLimit:
    """The bandwidth limit of one mirror: ``rate`` in bytes per second, ``streams`` that it suffices for;
    ``is_limiting``: it is what bounds the mirror's rate at the moment."""

    rate: int
    streams: int
    is_limiting: bool = False


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How many requests may be in flight: ``connections`` to all mirrors together, ``by_bandwidth`` as many as the
    download's bandwidth limit suffices for; ``mirrors``: the limits of single mirrors, by name."""

    connections: int
    by_bandwidth: int = sys.maxsize
    mirrors: Mapping[str, MirrorLimit] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Requests to all mirrors together."""
        return min(self.connections, self.by_bandwidth)

    def is_limiting(self, name: str) -> bool:
        """Is it the mirror's own limit that bounds its rate?"""
        return name in self.mirrors and self.mirrors[name].is_limiting


@dataclass(frozen=True, slots=True)
class MirrorSnapshot:
    """A mirror when a decision is made. ``rate``: bytes per second of all its streams. ``load``: its requests in
    flight; ``limit``: its own, if any; ``due``: bytes of the chunks that it has begun and not delivered yet;
    ``last_response_at``: a clock reading."""

    mirror: Mirror
    breaker: CircuitBreaker
    concurrency: ConcurrencyController
    rate: float
    load: Load
    limit: MirrorLimit | None
    due: int
    last_response_at: float

    @property
    def running(self) -> int:
        """Connections in use."""
        return self.load.connections

    @property
    def allows_request(self) -> bool:
        """May a chunk be requested, as far as its health goes?"""
        return self.breaker.allows_request(self.running)

    @property
    def has_capacity(self) -> bool:
        """May another request be sent, as far as its connections and its limit go?"""
        if self.limit is not None and self.load.large + self.load.small >= self.limit.streams:
            return False
        return self.load.has_capacity(self.concurrency.allowed, self.concurrency.most)


@dataclass(slots=True)
class MirrorState:
    """What the download observed of a mirror. ``received`` bytes of content; ``chunks`` committed; ``retries``:
    attempts that delivered nothing; ``fallbacks``: how often the work moved to it because all preferred mirrors were
    down. ``last_response_at``: when it last responded; ``last_byte_at``: when it last delivered a byte, or had no
    request; ``no_probe_before``: a probe is in flight until then; ``received_at_probe``: received bytes at the last
    probe; ``has_responded``: it has sent a good response. ``head_wait``: the longest wait for a response head
    lately, in seconds, also one in vain; it is forgotten after some shorter ones."""

    mirror: Mirror
    concurrency: ConcurrencyController
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    meter: RateMeter = field(default_factory=stream_meter)
    received: int = 0
    chunks: int = 0
    retries: int = 0
    fallbacks: int = 0
    last_response_at: float = 0.0
    last_byte_at: float = 0.0
    head_wait: float = 0.0
    no_probe_before: float = 0.0
    received_at_probe: int = 0
    has_responded: bool = False

    @property
    def probe_due_at(self) -> float:
        """When the next probe is due: of an open mirror after its delay, of one without requests once an interval."""
        is_open = self.breaker.state is BreakerState.OPEN
        due = self.breaker.next_probe_at if is_open else self.last_response_at + self.mirror.probe_interval
        return max(due, self.no_probe_before)

    def progress(self) -> MirrorProgress:
        """As it is reported."""
        return MirrorProgress(
            self.mirror.name,
            _REPORTED_STATES[self.breaker.state],
            speed=round(self.meter.rate),
            fetched=self.received,
            chunks=self.chunks,
            retries=self.retries,
            fallbacks=self.fallbacks,
            message="" if self.breaker.is_closed else self.breaker.reason[:200],
            untried=self.breaker.is_closed and not self.has_responded,
        )
