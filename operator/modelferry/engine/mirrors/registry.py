"""The mirrors of a download and their servers, as it observed them; one method for each kind of observation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelferry.engine.mirrors.breaker import BreakerState
from modelferry.engine.mirrors.mirror_state import Mirror, MirrorLimit, MirrorSnapshot, MirrorState, RequestLimits
from modelferry.engine.mirrors.selector import MirrorSelector
from modelferry.engine.pacing import BusyServer, ConcurrencyController, Load
from modelferry.engine.pacing.concurrency import MIN_RATE_SAMPLE
from modelferry.http.wire import Origin
from modelferry.manifest.entries import SOURCE
from modelferry.messages import MirrorProgress

#: Seconds without one byte on all streams of a mirror, after which others get its requests: longer than a pause of TCP
#: on a bad network path, much shorter than the deadlines of a mirror that is the only one.
SILENCE = 8.0
#: What is left of the longest wait for a response head with each shorter one.
_FORGETTING = 0.75


@dataclass(slots=True)
class MirrorRegistry:
    """``states``: mirrors by name; one without a rank follows those that were registered before. ``paused``: until when
    a server gets no requests, since it asked for time; ``busy``: what it asked for. ``reached``: servers that have sent
    a good response; ``preconnected``: those that connections were opened to before; ``round_trips`` in seconds.
    ``active_priority``: that of the mirrors that share the work. ``loads``: requests in flight, and ``due``: bytes of
    the chunks that were begun and are not delivered yet, by mirror."""

    limits: RequestLimits
    states: dict[str, MirrorState] = field(default_factory=dict)
    paused: dict[Origin, float] = field(default_factory=dict)
    busy: dict[Origin, BusyServer] = field(default_factory=dict)
    reached: set[Origin] = field(default_factory=set)
    preconnected: set[Origin] = field(default_factory=set)
    round_trips: dict[Origin, float] = field(default_factory=dict)
    active_priority: int | None = None
    loads: Mapping[str, Load] = field(default_factory=dict)
    due: Mapping[str, int] = field(default_factory=dict)
    _mirrors_at: dict[Origin, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, connections: int, mirrors: Sequence[Mirror] = ()) -> MirrorRegistry:
        """Before anything was observed; at most `connections` to all mirrors together."""
        priorities = [mirror.priority for mirror in mirrors]
        states = {
            mirror.name: MirrorState(
                mirror, ConcurrencyController.start(connections, priorities.count(mirror.priority))
            )
            for mirror in mirrors
        }
        return cls(RequestLimits(connections), states)

    def register(self, name: str, origin: Origin, now: float) -> None:
        """A file has a location at mirror `name`, whose server is `origin`."""
        if name not in self.states:
            last = max((state.mirror.priority for state in self.states.values()), default=-1)
            controller = ConcurrencyController.start(self.limits.connections)
            self.states[name] = MirrorState(Mirror(name, last + 1), controller)
        state = self.states[name]
        state.last_response_at = state.last_byte_at = now
        self._mirrors_at.setdefault(origin, set()).add(name)
        if origin in self.round_trips:
            state.concurrency = state.concurrency.record_round_trip(self.round_trips[origin])
        self._update_active_priority()

    # What the decisions need.

    def selector(self) -> MirrorSelector:
        """The state as it is now, for decisions."""
        mirrors = {name: self._snapshot(name, state) for name, state in self.states.items()}
        return MirrorSelector(
            mirrors, self.limits, frozenset(self.paused), frozenset(self.reached), self.active_priority
        )

    def _snapshot(self, name: str, state: MirrorState) -> MirrorSnapshot:
        return MirrorSnapshot(
            state.mirror,
            state.breaker,
            state.concurrency,
            state.meter.rate,
            self._load(name),
            self.limits.mirrors.get(name),
            self.due.get(name, 0),
            state.last_response_at,
        )

    def _load(self, name: str) -> Load:
        return self.loads.get(name) or Load()

    def _running(self, name: str) -> int:
        return self._load(name).connections

    @property
    def all_down(self) -> bool:
        """Is none of several mirrors healthy?"""
        return len(self.states) > 1 and not any(state.breaker.is_closed for state in self.states.values())

    @property
    def quarantined_mirrors(self) -> list[str]:
        """Mirrors that served corrupt data."""
        return [name for name, state in self.states.items() if state.breaker.is_quarantined]

    def should_preconnect(self, name: str, origin: Origin) -> bool:
        """Is it time to open connections to `origin`, the server of mirror `name`, which has not responded yet? Once,
        when its round trip time is known."""
        known = bool(self.states[name].concurrency.rtt)
        return known and origin not in self.reached and origin not in self.preconnected

    def progress(self) -> tuple[MirrorProgress, ...]:
        """What is reported of the mirrors, by preference."""
        ordered = sorted(self.states.values(), key=lambda one: (one.mirror.priority, one.mirror.name == SOURCE))
        return tuple(state.progress() for state in ordered)

    # When something is due.

    def due_probes(self, now: float) -> list[str]:
        """The mirrors to probe now. One that is the only one gets requests for chunks instead."""
        return [name for name, due in self._probes() if now >= due]

    def probe_times(self) -> list[float]:
        """When probes are due."""
        return [due for _, due in self._probes()]

    def _probes(self) -> list[tuple[str, float]]:
        return [
            (name, state.probe_due_at)
            for name, state in self.states.items()
            if len(self.states) > 1 and not state.breaker.is_quarantined and not self._running(name)
        ]

    def observation_times(self) -> list[float]:
        """When `observe` has something to do."""
        times = (state.concurrency.next_observation for state in self.states.values())
        return [time for time in times if time is not None]

    def resume_paused(self, now: float) -> None:
        """Servers get requests again when the time that they asked for is over."""
        self.paused = {origin: until for origin, until in self.paused.items() if until > now}

    # Requests.

    def update_limits(self, by_bandwidth: int, mirrors: Mapping[str, MirrorLimit]) -> None:
        """The bandwidth limits as they are now: of the download, as requests that it suffices for, and of mirrors."""
        self.limits = RequestLimits(self.limits.connections, by_bandwidth, mirrors)

    def update_load(self, loads: Mapping[str, Load], due: Mapping[str, int] | None = None) -> None:
        """The requests in flight, and the bytes of begun chunks that have not arrived, by mirror."""
        self.loads, self.due = loads, due or {}

    def record_preconnect(self, origin: Origin) -> None:
        """Connections to `origin` were opened before requests need them."""
        self.preconnected.add(origin)

    def record_probe_started(self, name: str, no_other_before: float) -> None:
        """A probe is in flight; there is no other one before that clock reading."""
        self.states[name].no_probe_before = no_other_before

    # What a connection or a response shows.

    def record_round_trip(self, origin: Origin, rtt: float) -> None:
        """A connection to `origin` was opened, whose round trip took `rtt` seconds. A server of no mirror is one that a
        mirror redirects to."""
        self.round_trips[origin] = rtt
        for name in self._mirrors_at.get(origin, self.states if len(self.states) == 1 else ()):
            self.states[name].concurrency = self.states[name].concurrency.record_round_trip(rtt)

    def record_response(self, name: str, origin: Origin, now: float, seconds: float) -> bool:
        """`origin`, the server of mirror `name`, sent a good response, whose head arrived after `seconds`; True if it
        is the first one of the server."""
        state = self.states[name]
        state.concurrency = state.concurrency.record_response_head(seconds)
        state.last_response_at, state.has_responded = now, True
        state.head_wait = max(seconds, _FORGETTING * state.head_wait)
        if origin in self.busy:
            self.busy[origin] = self.busy[origin].record_response(now - seconds)
        first = origin not in self.reached
        self.reached.add(origin)
        return first

    def record_busy(self, name: str, origin: Origin, now: float, delay: float | None) -> float | None:
        """`origin`, the server of mirror `name`, is busy, and may have asked for `delay` seconds without requests.
        Returns how many of them the request that it refused waits.

        One busy response among good ones says nothing of the other requests: they go on, with fewer connections.
        """
        state = self.states[name]
        state.concurrency = state.concurrency.record_busy(now)
        if delay is None:
            return None
        busy = self.busy[origin] = self.busy.get(origin, BusyServer()).record_busy(now, delay)
        if busy.in_row > 1 or origin not in self.reached:
            self.paused[origin] = now + busy.pause
        return busy.pause

    def record_stall(self, name: str, seconds: float) -> None:
        """A request to mirror `name` got nothing within `seconds`."""
        state = self.states[name]
        state.head_wait = max(seconds, state.head_wait)

    def record_throughput(self, name: str, now: float, size: int, seconds: float) -> None:
        """A stream delivered `size` bytes in `seconds`."""
        state = self.states[name]
        state.concurrency = state.concurrency.record_throughput(now, size, seconds)

    def record_chunk(self, name: str) -> None:
        """A chunk from mirror `name` is committed."""
        self.states[name].chunks += 1

    # What an outcome says about a mirror's health.

    def record_success(self, name: str, requested_at: float = math.inf) -> None:
        """Good bytes arrived that were requested at clock reading `requested_at`."""
        state = self.states[name]
        state.breaker = state.breaker.record_success(requested_at)
        self._update_active_priority()

    def record_failure(self, name: str, now: float, reason: str) -> None:
        """An attempt delivered nothing."""
        state = self.states[name]
        state.retries += 1
        state.breaker = state.breaker.record_failure(now, reason)
        self._update_active_priority()

    def record_untrusted(self, name: str, now: float, reason: str) -> None:
        """The server cannot prove its identity, or does not accept ours: that will be so for every file."""
        state = self.states[name]
        state.retries += 1
        state.breaker = state.breaker.trip(now, reason)
        self._update_active_priority()

    def record_probe(self, name: str, now: float, error: str) -> None:
        """A probe ended, successfully if `error` is empty."""
        state = self.states[name]
        state.no_probe_before = 0.0
        state.breaker = state.breaker.record_probe(now, error, state.mirror.probe_interval)
        state.received_at_probe = state.received
        if not error:
            state.last_response_at, state.has_responded = now, True
        self._update_active_priority()

    def quarantine(self, name: str, reason: str) -> None:
        """The mirror served corrupt data."""
        state = self.states[name]
        state.breaker = state.breaker.quarantine(reason)
        self._update_active_priority()

    def trip_silent(self, now: float) -> list[str]:
        """The mirrors whose streams have received nothing for `SILENCE`, while another mirror is healthy; their
        breakers open."""
        tripped = []
        for name, state in self.states.items():
            others = any(other.breaker.is_closed for other in self.states.values() if other is not state)
            waits = self._running(name) and not self.limits.is_limiting(name)
            if others and waits and now - state.last_byte_at > SILENCE and state.breaker.is_closed:
                state.breaker = state.breaker.trip(now, f"sent nothing for {SILENCE:.0f} s")
                tripped.append(name)
        if tripped:
            self._update_active_priority()
        return tripped

    def observe(self, now: float, received: Mapping[str, int], *, unlimited: bool = True) -> bool:
        """The bytes `received` from each mirror so far; see `ConcurrencyController.observe`. If a limit bounds
        the rates, they are not `unlimited`, and show nothing. Returns whether more requests are allowed than before."""
        running = sum(load.connections for load in self.loads.values())
        grew = False
        for name, state in self.states.items():
            before = state.concurrency.allowed
            self._observe(name, state, now, received.get(name, 0), unlimited)
            grew = grew or state.concurrency.allowed > before
            if running >= self.limits.connections and 0 < self._running(name) < state.concurrency.base:
                # The streams of others leave it fewer than `base`: its rate is measured with what it has.
                state.concurrency = replace(state.concurrency, settling_since=None, measured_from=None)
        return grew

    def _observe(self, name: str, state: MirrorState, now: float, received: int, unlimited: bool) -> None:
        if received > state.received or not self._running(name):
            state.last_byte_at = now
        state.received, state.meter = received, state.meter.sampled(now, received)
        is_half_open = state.breaker.state is BreakerState.HALF_OPEN
        if is_half_open and received - state.received_at_probe >= MIN_RATE_SAMPLE:
            state.breaker = state.breaker.record_success()
        representative = self._load(name).is_representative(state.concurrency.allowed)
        shows_path = unlimited and not self.limits.is_limiting(name) and representative
        state.concurrency = state.concurrency.observe(now, received, shows_path)

    def _update_active_priority(self) -> None:
        """Count it if the work moves to mirrors of a lower rank, since those above are down."""
        healthy = [state for state in self.states.values() if state.breaker.is_closed]
        priority = min((state.mirror.priority for state in healthy), default=None)
        if priority is None:
            return
        if self.active_priority is not None and priority > self.active_priority:
            for state in healthy:
                state.fallbacks += state.mirror.priority == priority
        self.active_priority = priority
