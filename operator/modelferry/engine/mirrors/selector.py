"""Decides which mirror gets a request, on a frozen snapshot of all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelferry.engine.mirrors.mirror_state import MirrorSnapshot, RequestLimits
from modelferry.engine.mirrors.ranking import (
    Candidate,
    best_candidate,
    is_faster_elsewhere,
    is_over_share,
    would_finish_late,
)
from modelferry.http.wire import Origin

#: Seconds that a file without a digest waits for the mirror that served part of it, before another one starts it again.
SWITCH_DELAY = 30.0


@dataclass(frozen=True, slots=True)
class LocationOption:
    """A usable location of a file: its ``mirror``, and the ``origin`` of its URL. ``entire_only``: it sends entire
    files only. ``has_validator``: bytes from it are on the disk."""

    mirror: str
    origin: Origin
    entire_only: bool = False
    has_validator: bool = False


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What is to be fetched: a range of a chunk of ``chunk_size`` bytes, or a file as a stream (``is_stream``), from
    one of ``locations``, in the file's order. ``chosen``: the mirror that a file without a digest is fetched from;
    ``suspect``: the mirror that is suspected of corrupt data; ``begun_by``: the mirror that other parts of the chunk
    are fetched from; ``avoid``: the mirror that failed last. All of these are empty if there is none."""

    locations: tuple[LocationOption, ...]
    chunk_size: int
    has_digest: bool = True
    is_stream: bool = False
    chosen: str = ""
    suspect: str = ""
    begun_by: str = ""
    avoid: str = ""


@dataclass(frozen=True, slots=True)
class MirrorSelector:
    """``mirrors`` by name; ``paused``: servers that asked for time; ``reached``: servers that have sent a good
    response; ``active_priority``: that of the mirrors that share the work, None while unknown."""

    mirrors: Mapping[str, MirrorSnapshot]
    limits: RequestLimits
    paused: frozenset[Origin] = frozenset()
    reached: frozenset[Origin] = frozenset()
    active_priority: int | None = None

    # Which mirror.

    def select(
        self, request: SelectionRequest, waiting: int, in_flight: Mapping[Origin, int], *, fair: bool = False
    ) -> str | None:
        """The mirror that `request` goes to, with `waiting` bytes after it, and requests by server `in_flight`; None if
        it has to wait for one. ``fair``: a chunk that is begun at one mirror gets no connection beyond that mirror's
        share that a better one could have."""
        usable = self._usable(request)
        eligible = self._eligible(usable)
        if request.avoid:
            eligible = [one for one in eligible if one.mirror != request.avoid] or eligible
        elif begun := [one for one in eligible if one.mirror == request.begun_by]:
            candidates = [self._candidate(one, in_flight) for one in eligible]
            if fair and is_over_share(request.begun_by, candidates, self.limits.connections):
                return None
            eligible = begun
        candidates = [self._candidate(one, in_flight) for one in eligible]
        return _best(candidates, None if request.begun_by else request.chunk_size, waiting)

    def _usable(self, request: SelectionRequest) -> Sequence[LocationOption]:
        """The locations that may serve `request`, whatever their health, by preference."""
        usable = sorted(request.locations, key=lambda one: self.mirrors[one.mirror].mirror.priority)
        if not request.has_digest:
            # The bytes that a file without a digest has are from one mirror, which goes on with it.
            usable.sort(key=lambda one: not one.has_validator)
        if not request.is_stream and self.can_serve_ranges(usable):
            usable = [one for one in usable if not one.entire_only]
        if not request.has_digest:
            usable = [next((one for one in usable if one.mirror == request.chosen), usable[0])]
        return [one for one in usable if one.mirror != request.suspect] or usable

    def _eligible(self, usable: Sequence[LocationOption]) -> Sequence[LocationOption]:
        """Those that may get a request now, as far as their health goes."""
        awake = [one for one in usable if one.origin not in self.paused]
        eligible = [one for one in awake if self.mirrors[one.mirror].allows_request]
        if not eligible and not any(self._is_healthy(one.mirror) for one in usable):
            # All are down: they get requests in turn, as their backoffs end.
            return awake
        return eligible

    def _candidate(self, option: LocationOption, in_flight: Mapping[Origin, int]) -> Candidate:
        """Until a server has sent a good response, it gets one request at a time: a wrong URL costs one request, not
        sixteen."""
        mirror = self.mirrors[option.mirror]
        running, limit = mirror.running, mirror.limit
        is_free = mirror.has_capacity and (option.origin in self.reached or not in_flight.get(option.origin, 0))
        return Candidate(
            name=option.mirror,
            priority=mirror.mirror.priority,
            weight=mirror.mirror.weight,
            stream_rate=mirror.concurrency.stream_rate,
            # The rate of an idle one is not known, but for its limit.
            rate=mirror.rate if running else float(limit.rate) if limit is not None else 0.0,
            running=running,
            allowed=max(mirror.concurrency.allowed, running + 1) if is_free else running,
            base=mirror.concurrency.base,
            due=mirror.due,
        )

    def _is_healthy(self, name: str) -> bool:
        return self.mirrors[name].breaker.is_closed

    def can_serve_ranges(self, locations: Iterable[LocationOption]) -> bool:
        """Is there a location that serves ranges, and is not down?"""
        return any(not one.entire_only and self.mirrors[one.mirror].breaker.serves for one in locations)

    def has_alternative(self, locations: Iterable[LocationOption], mirror: str) -> bool:
        """Is there a location at another mirror than `mirror` whose server did not ask for time?"""
        return any(one.mirror != mirror and one.origin not in self.paused for one in locations)

    def should_switch_location(
        self, locations: Iterable[LocationOption], chosen: str, now: float, *, begun: bool
    ) -> bool:
        """Is it time to start a file without a digest again from another location, since its mirror `chosen` is down?
        ``begun``: chunks from there are committed."""
        if self._is_healthy(chosen):
            return False
        others = any(one.mirror != chosen and self._is_healthy(one.mirror) for one in locations)
        return others and (not begun or now - self.mirrors[chosen].last_response_at > SWITCH_DELAY)

    def should_reassign(
        self, locations: Iterable[LocationOption], begun_by: str, chunks: int, size: int, left: int
    ) -> bool:
        """Would another mirror, with no other work, deliver all `size` bytes of a chunk sooner than `begun_by`, which
        has begun `chunks` chunks of the file, delivers the `left` bytes of it that have not arrived?"""
        others = [
            other.concurrency.stream_rate
            for other in (self.mirrors[one.mirror] for one in locations if one.mirror != begun_by)
            if other.breaker.is_closed and other.has_capacity
        ]
        return is_faster_elsewhere(left, self.mirrors[begun_by].rate / chunks, size, max(others, default=0.0))

    # How many requests.

    @property
    def has_capacity(self) -> bool:
        """May any mirror of the active priority get another request? If none is healthy, backoffs alone limit them."""
        if self.running >= self.limits.total:
            return False
        healthy = [one for one in self.mirrors.values() if one.breaker.is_closed]
        recovering = any(one.allows_request for one in self.mirrors.values() if not one.breaker.is_closed)
        active = (one for one in healthy if one.mirror.priority == self.active_priority)
        return not healthy or recovering or any(one.has_capacity for one in active)

    @property
    def running(self) -> int:
        """Connections in use, to all mirrors together."""
        return sum(one.running for one in self.mirrors.values())

    def max_connections(self, name: str) -> int:
        """Connections to the mirror that can be of use at the moment."""
        mirror = self.mirrors[name]
        by_limit = self.limits.total if mirror.limit is None else min(self.limits.total, mirror.limit.streams)
        return min(mirror.concurrency.allowed, by_limit)


def _best(candidates: Sequence[Candidate], new_chunk: int | None, waiting: int) -> str | None:
    """The name of the best candidate that would not finish a new chunk of so many bytes late; parts of a begun chunk
    (None) are not compared."""
    found = best_candidate(candidates)
    if found is None:
        return None
    others = [one for one in candidates if one.priority == found.priority and one is not found]
    if new_chunk is not None and others and would_finish_late(found, others, new_chunk, waiting):
        return _best(others, new_chunk, waiting)
    return found.name
