"""Whom to ask, and how much at once: the mirrors of a download and their servers, as it came to know them."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState
from modelferry.engine.download.tasks import FetchTask, RangeTask
from modelferry.engine.mirrors import (
    CLOSED,
    HALF_OPEN,
    QUARANTINED,
    Candidate,
    Mirror,
    MirrorLimit,
    MirrorState,
    best,
    outdone,
    too_slow,
    worthwhile,
)
from modelferry.engine.pacing import ConcurrencyController, Load
from modelferry.engine.pacing.concurrency import MIN_RATE_SAMPLE
from modelferry.http.wire import Origin
from modelferry.manifest.entries import SOURCE
from modelferry.messages import MirrorProgress

#: Seconds that a file without a digest waits for the mirror that it is half fetched from, before another one begins it
#: anew.
_LOYALTY = 30.0
#: Seconds without one byte on all streams of a mirror, after which another one is asked: longer than a pause of TCP on
#: a bad line, much shorter than the deadlines that a mirror has who is alone.
SILENCE = 8.0


@dataclass(slots=True)
class MirrorRegistry:
    """``connections`` at once, to all together. ``known``: mirrors by name; one that nobody described ranks after those
    that were met before. ``running``: tries at each. ``paused``: until when a server is left alone, since it said so.
    ``reached``: servers that have answered well; ``preconnected``: those that connections were opened to before;
    ``rtts``: round trips in seconds. ``level``: the priority that the work is at. ``bound``: requests at once that a
    limit on the bandwidth is enough for; ``caps``: the limits that mirrors have of their own. ``due``: bytes of the
    chunks that each has begun and not brought yet."""

    connections: int
    known: dict[str, MirrorState] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    paused: dict[Origin, float] = field(default_factory=dict)
    reached: set[Origin] = field(default_factory=set)
    preconnected: set[Origin] = field(default_factory=set)
    rtts: dict[Origin, float] = field(default_factory=dict)
    level: int | None = None
    bound: int = sys.maxsize
    caps: Mapping[str, MirrorLimit] = field(default_factory=dict)
    loads: Mapping[str, Load] = field(default_factory=dict)
    due: Mapping[str, int] = field(default_factory=dict)
    _at: dict[Origin, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, connections: int, mirrors: Sequence[Mirror] = ()) -> MirrorRegistry:
        """Before anything is known of them."""
        ranks = Counter(mirror.priority for mirror in mirrors)
        paces = {mirror.name: ConcurrencyController.start(connections, ranks[mirror.priority]) for mirror in mirrors}
        return cls(connections, {mirror.name: MirrorState(mirror, paces[mirror.name]) for mirror in mirrors})

    def meet(self, locations: Iterable[LocationState], now: float) -> None:
        """Take note of the mirrors that `locations` are at."""
        for location in locations:
            name = location.location.mirror
            if name not in self.known:
                last = max((work.mirror.priority for work in self.known.values()), default=-1)
                self.known[name] = MirrorState(Mirror(name, last + 1), ConcurrencyController.start(self.connections))
            work, origin = self.known[name], Origin.of(location.location.url)
            work.heard = work.fed = now
            self._at.setdefault(origin, set()).add(name)
            if origin in self.rtts:
                work.concurrency = work.concurrency.record_round_trip(self.rtts[origin])
        self._settle()

    def update_load(self, loads: Mapping[str, Load], due: Mapping[str, int] | None = None) -> None:
        """Take note of the requests that are running, and of the bytes that are still to come of begun chunks, by
        mirror."""
        self.due = due or {}
        self.loads = loads
        self.running = Counter({name: load.connections for name, load in loads.items()})

    def has_room(self, work: MirrorState) -> bool:
        """May another request be sent to a mirror, as far as its own pace goes?"""
        load, cap = self._load(work), self.caps.get(work.mirror.name)
        if cap is not None and load.large + load.small >= cap.streams:
            return False
        return load.has_capacity(work.concurrency.allowed, work.concurrency.most)

    def _felt(self, name: str) -> bool:
        """Is it its own limit that bounds what a mirror brings?"""
        return name in self.caps and self.caps[name].felt

    def _load(self, work: MirrorState) -> Load:
        return self.loads.get(work.mirror.name) or Load(self.running[work.mirror.name], 0)

    def mirror(self, location: LocationState) -> MirrorState:
        """What is known of the mirror of `location`."""
        return self.known[location.location.mirror]

    # Whom to ask.

    def location_for(
        self, file: FileDownload, task: FetchTask, waiting: int, asks: Counter[Origin], *, fair: bool = False
    ) -> LocationState | None:
        """The place of `file` that `task` is to be fetched from, with `waiting` bytes after it and tries running that
        `asks` counts; None where it has to wait for one. ``fair``: a chunk that is begun at one mirror takes no
        connection beyond that mirror's share that a better one could have."""
        usable = self._by_preference(file)
        is_range = isinstance(task, RangeTask)
        if is_range and self.in_parts(file):
            usable = [location for location in usable if not location.entire]
        if file.entry.digest is None:
            usable = [file.chosen if file.chosen in usable else usable[0]]
        usable = [location for location in usable if location.location.mirror != file.suspect] or usable
        awake = [location for location in usable if Origin.of(location.location.url) not in self.paused]
        well = [
            location
            for location in awake
            if self.mirror(location).health.may_ask(self.running[location.location.mirror])
        ]
        if not any(self.mirror(location).health.sound for location in usable) and not well:
            # All are down: each in turn, at the pace of the backoff.
            well = awake
        bound = ""
        if isinstance(task, RangeTask) and task.chunk.index in file.assemblies:
            bound = file.assemblies[task.chunk.index].mirror
        if task.failures and task.avoid:
            well = [location for location in well if location.location.mirror != task.avoid] or well
        elif kept := [location for location in usable if location.location.mirror == bound and location in well]:
            if fair and outdone(bound, [self._candidate(location, asks) for location in well], self.connections):
                return None
            well = kept
        return self._best(well, task, waiting, asks, bound=bool(bound))

    def in_parts(self, file: FileDownload) -> bool:
        """Is there a place that `file` can be fetched from in parts, and that is not down?"""
        return any(
            not location.entire and self.mirror(location).health.state in (CLOSED, HALF_OPEN)
            for location in file.usable
        )

    @property
    def room(self) -> bool:
        """May any mirror that the work is at be asked for more? Where none is well, backoffs alone hold it back."""
        works = [work for work in self.known.values() if work.health.sound]
        if self.running.total() >= min(self.connections, self.bound):
            return False
        rising = any(
            work.health.may_ask(self.running[name]) for name, work in self.known.items() if not work.health.sound
        )
        at_work = (work for work in works if work.mirror.priority == self.level)
        return not works or rising or any(self.has_room(one) for one in at_work)

    def _by_preference(self, file: FileDownload) -> list[LocationState]:
        found = sorted(file.usable, key=lambda location: self.mirror(location).mirror.priority)
        # What is there of a file without a digest came from one mirror, which goes on with it.
        return (
            found if file.entry.digest is not None else sorted(found, key=lambda location: location.validator is None)
        )

    def _best(
        self, locations: Sequence[LocationState], task: FetchTask, waiting: int, asks: Counter[Origin], *, bound: bool
    ) -> LocationState | None:
        by_name = {location.location.mirror: location for location in locations}
        candidates = [self._candidate(location, asks) for location in locations]
        found = best(candidates)
        if found is None:
            return None
        others = [one for one in candidates if one.priority == found.priority and one is not found]
        size = task.chunk.size if isinstance(task, RangeTask) else task.size
        if not bound and others and not worthwhile(found, others, size, waiting):
            return self._best([by_name[one.name] for one in others], task, waiting, asks, bound=bound)
        return by_name[found.name]

    def _candidate(self, location: LocationState, asks: Counter[Origin]) -> Candidate:
        """Until a server has answered well once, one try at a time asks it: a wrong URL costs one request, not
        sixteen."""
        work, name, origin = self.mirror(location), location.location.mirror, Origin.of(location.location.url)
        running = self.running[name]
        free = self.has_room(work) and (origin in self.reached or not asks[origin])
        allowed = max(work.concurrency.allowed, running + 1) if free else running
        cap = self.caps.get(name)
        # What an idle one would bring is not known, but for its limit.
        speed = work.meter.rate if running else float(cap.rate) if cap is not None else 0.0
        rank, rates = (work.mirror.priority, work.mirror.weight), (work.concurrency.stream_rate, speed)
        return Candidate(name, *rank, *rates, running, allowed, work.concurrency.base, self.due.get(name, 0))

    def another(self, file: FileDownload, location: LocationState) -> bool:
        """Is there another place for parts of `file` than `location`, which does not want to be left alone?"""
        free = [one for one in file.usable if Origin.of(one.location.url) not in self.paused]
        return file.entry.digest is not None and any(one is not location for one in free)

    def should_switch_location(self, file: FileDownload, now: float) -> bool:
        """Is it time for a file without a digest to begin anew from another place, since its own is down?"""
        if file.entry.digest is not None or file.chosen is None or self.mirror(file.chosen).health.sound:
            return False
        others = [
            location for location in file.usable if location is not file.chosen and self.mirror(location).health.sound
        ]
        begun = len(file.missing) < len(file.chunks)
        return bool(others) and (not begun or now - self.mirror(file.chosen).heard > _LOYALTY)

    def probes(self, now: float) -> list[str]:
        """The mirrors that are to be asked for a byte now. One that is alone is asked for chunks instead."""
        return [name for name, due in self._probed() if now >= due]

    def probe_times(self) -> list[float]:
        """When mirrors are to be asked for a byte."""
        return [due for _, due in self._probed()]

    def _probed(self) -> list[tuple[str, float]]:
        return [
            (name, work.probe_due)
            for name, work in self.known.items()
            if len(self.known) > 1 and work.health.state != QUARANTINED and not self.running[name]
        ]

    def too_slow(self, file: FileDownload, assembly: ChunkAssembly, coming: int) -> bool:
        """Would another mirror, with nothing else to do, bring all of a chunk sooner than the one that it is bound to
        brings the rest of it? ``coming``: bytes of it that came and are not held yet."""
        work = self.known.get(assembly.mirror)
        if work is None or file.entry.digest is None or file.suspect:
            return False
        others = [
            other.concurrency.stream_rate
            for other in (self.mirror(location) for location in file.usable)
            if other is not work and other.health.sound and self.has_room(other)
        ]
        bound = sum(one.mirror == assembly.mirror for one in file.assemblies.values())
        size, left = assembly.chunk.size, assembly.chunk.size - assembly.held - coming
        return too_slow(left, work.meter.rate / bound, size, max(others, default=0.0))

    def silent(self, now: float) -> list[str]:
        """Mirrors whose streams have brought nothing for a while, where another one is well; their breakers open."""
        found = []
        for name, work in self.known.items():
            others = any(other.health.sound for other in self.known.values() if other is not work)
            silent = self.running[name] and not self._felt(name) and now - work.fed > SILENCE
            if others and silent and work.health.sound:
                work.health = work.health.tripped(now, f"brought nothing for {SILENCE:.0f} s")
                found.append(name)
        if found:
            self._settle()
        return found

    # What is learnt.

    def met(self, origin: Origin, rtt: float) -> None:
        """Take note of the round trip of a connection to `origin`, in seconds. A server that is at no mirror is where
        one redirects to."""
        self.rtts[origin] = rtt
        for name in self._at.get(origin, self.known if len(self.known) == 1 else ()):
            self.known[name].concurrency = self.known[name].concurrency.record_round_trip(rtt)

    def should_preconnect(self, location: LocationState) -> bool:
        """Is it time to open connections to the server of `location`, which has not answered yet? Once, when its
        distance is known."""
        origin = location.origin
        return bool(self.mirror(location).concurrency.rtt) and origin not in self.reached | self.preconnected

    def answered(self, location: LocationState, now: float, seconds: float) -> bool:
        """Take note of a good answer whose head came after `seconds`; True where it is the first one of its server."""
        work, origin = self.mirror(location), Origin.of(location.location.url)
        work.concurrency, work.heard, work.answered = work.concurrency.record_response_head(seconds), now, True
        first = origin not in self.reached
        self.reached.add(origin)
        return first

    def brought(self, mirror: str, now: float, size: int, seconds: float) -> None:
        """Take note of a stream that brought `size` bytes in `seconds`."""
        self.known[mirror].concurrency = self.known[mirror].concurrency.record_throughput(now, size, seconds)

    def delivered(self, location: LocationState, begun: float = math.inf) -> None:
        """Take note of good bytes that were asked for at clock reading `begun`."""
        location.deliver()
        work = self.mirror(location)
        work.health = work.health.delivered(begun)
        self._settle()

    def failed(self, location: LocationState, now: float, why: str) -> None:
        """Take note of a try that brought nothing."""
        work = self.mirror(location)
        work.retries += 1
        work.health = work.health.failed(now, why)
        self._settle()

    def distrusted(self, location: LocationState, now: float, why: str) -> None:
        """The server of `location` cannot prove who it is, or does not take us: so it will be with every file."""
        work = self.mirror(location)
        work.retries += 1
        work.health = work.health.tripped(now, why)
        self._settle()

    def probed(self, name: str, now: float, why: str) -> None:
        """Take note of what a probe came to: well where `why` is empty."""
        work = self.known[name]
        work.asleep, work.health = 0.0, work.health.probed(now, why, work.mirror.probe)
        work.heard, work.tried = now if not why else work.heard, work.received
        work.answered |= not why
        self._settle()

    def quarantine(self, name: str, why: str) -> None:
        """`name` served wrong bytes."""
        self.known[name].health = self.known[name].health.quarantined(why)
        self._settle()

    def busy(self, location: LocationState, now: float, delay: float | None) -> None:
        """The server of `location` has too much to do, and may have said for how many seconds (`delay`) it is to be
        left alone."""
        work = self.mirror(location)
        work.concurrency = work.concurrency.record_busy(now)
        if delay is not None:
            self.paused[Origin.of(location.location.url)] = now + delay

    def observe(self, now: float, received: Mapping[str, int], *, free: bool = True) -> bool:
        """As `ConcurrencyController.observe`, for each mirror; where a limit bounds the rate, and so it is not `free`,
        it tells nothing. Returns whether more may be asked for than before."""
        full, grew = self.running.total() >= self.connections, False
        for name, work in self.known.items():
            running, before = self.running[name], work.received
            work.received = received.get(name, 0)
            work.meter = work.meter.sampled(now, work.received)
            work.fed = now if work.received > before or not running else work.fed
            if work.health.state == HALF_OPEN and work.received - work.tried >= MIN_RATE_SAMPLE:
                work.health = work.health.delivered()
            allowed = work.concurrency.allowed
            filled = free and not self._felt(name) and self._load(work).is_representative(allowed)
            work.concurrency = work.concurrency.observe(now, work.received, filled)
            grew = grew or work.concurrency.allowed > allowed
            if full and 0 < running < work.concurrency.base:
                # The others' streams leave it fewer than it began with: what it has is what it is measured by.
                work.concurrency = replace(work.concurrency, settling_since=None, measured_from=None)
        return grew

    def observe_times(self) -> list[float]:
        """When `observe` sees the next thing."""
        return [
            work.concurrency.next_observation
            for work in self.known.values()
            if work.concurrency.next_observation is not None
        ]

    def resume(self, now: float) -> None:
        """Let those be asked again whose pause is over."""
        self.paused = {origin: until for origin, until in self.paused.items() if until > now}

    def _settle(self) -> None:
        """Count it where the work moves to mirrors that rank lower, since those above are down."""
        sound = [work for work in self.known.values() if work.health.sound]
        level = min((work.mirror.priority for work in sound), default=None)
        if level is None:
            return
        if self.level is not None and level > self.level:
            for work in sound:
                work.fallbacks += work.mirror.priority == level
        self.level = level

    @property
    def all_down(self) -> bool:
        """Is there no mirror, of several, that is well?"""
        return len(self.known) > 1 and not any(work.health.sound for work in self.known.values())

    @property
    def quarantined_mirrors(self) -> list[str]:
        """Mirrors that served wrong bytes."""
        return [name for name, work in self.known.items() if work.health.state == QUARANTINED]

    def progress(self) -> tuple[MirrorProgress, ...]:
        """What others are told of the mirrors, by preference."""
        ordered = sorted(self.known.values(), key=lambda work: (work.mirror.priority, work.mirror.name == SOURCE))
        return tuple(work.progress() for work in ordered)
