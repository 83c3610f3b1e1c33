"""What is known of a mirror: what the user said of it, and what the download came to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.engine.mirrors.breaker import CLOSED, HALF_OPEN, OPEN, QUARANTINED, CircuitBreaker
from modelferry.engine.pacing import ConcurrencyController, RateMeter, stream_meter
from modelferry.messages import progress
from modelferry.messages.progress import DOWN, RECOVERING, UP, MirrorProgress

#: Seconds between two probes of a mirror that is not asked for anything else.
PROBE_INTERVAL = 30.0

_WORDS = {CLOSED: UP, OPEN: DOWN, HALF_OPEN: RECOVERING, QUARANTINED: progress.QUARANTINED}


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror's standing, as SRV records have it (RFC 2782): those of the lowest ``priority`` that are well share the
    work; ``weight`` multiplies what each is worth. ``probe``: seconds between two probes."""

    name: str
    priority: int
    weight: int = 1
    probe: float = PROBE_INTERVAL


@dataclass(frozen=True, slots=True)
class MirrorLimit:
    """A limit on what one mirror may bring: ``rate`` in bytes per second, ``streams`` that it is enough for; ``felt``:
    it is what bounds the mirror at the moment."""

    rate: int
    streams: int
    felt: bool = False


@dataclass(slots=True)
class MirrorState:
    """A mirror as the download knows it. ``received`` bytes of content; ``chunks`` committed; ``retries``: tries at it
    that brought nothing; ``fallbacks``: how often the work came to it since all that are preferred were down;
    ``heard``: when it last answered; ``fed``: when it last brought a byte, or was asked for none; ``asleep``: no probe
    before that, since one is on its way; ``tried``: received when it was half-opened; ``answered``: it has
    answered well at least once."""

    mirror: Mirror
    concurrency: ConcurrencyController
    health: CircuitBreaker = field(default_factory=CircuitBreaker)
    meter: RateMeter = field(default_factory=stream_meter)
    received: int = 0
    chunks: int = 0
    retries: int = 0
    fallbacks: int = 0
    heard: float = 0.0
    fed: float = 0.0
    asleep: float = 0.0
    tried: int = 0
    answered: bool = False

    @property
    def probe_due(self) -> float:
        """When it is to be probed: an open one after its rest, one that nobody asks once an interval."""
        due = self.health.until if self.health.state == OPEN else self.heard + self.mirror.probe
        return max(due, self.asleep)

    def progress(self) -> MirrorProgress:
        """As others are told."""
        return MirrorProgress(
            self.mirror.name,
            _WORDS[self.health.state],
            speed=round(self.meter.rate),
            fetched=self.received,
            chunks=self.chunks,
            retries=self.retries,
            fallbacks=self.fallbacks,
            message="" if self.health.sound else self.health.reason[:200],
            untried=self.health.sound and not self.answered,
        )
