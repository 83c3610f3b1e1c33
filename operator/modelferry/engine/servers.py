"""Whom to ask, and how much at once: the servers of a download, as it came to know them."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.engine.pace import Load, Pace
from modelferry.engine.plan import Lease
from modelferry.engine.wire import Origin
from modelferry.engine.work import FileWork, PlaceWork


@dataclass(slots=True)
class Servers:
    """``pace`` is one for all servers; who asks for it names the server anyway. ``paused``: until when a server is left
    alone, since it said so. ``reached``: servers that have answered well; ``warmed``: those that connections were
    opened to before."""

    pace: Pace
    paused: dict[Origin, float] = field(default_factory=dict)
    reached: set[Origin] = field(default_factory=set)
    warmed: set[Origin] = field(default_factory=set)

    def place_for(self, file: FileWork, lease: Lease) -> PlaceWork:
        """The place of `file` that `lease` is fetched from next: with a digest, one that did not ask to be left alone,
        where there is one."""
        turns = [file.place_for(lease.attempt + step) for step in range(len(file.usable))]
        return next((place for place in turns if Origin.of(place.place.url) not in self.paused), turns[0])

    def pace_of(self, origin: Origin | None) -> Pace:
        """What is known of the way to `origin`."""
        return self.pace

    @property
    def allowed(self) -> int:
        """Connections at once, to all together."""
        return self.pace.allowed

    def has_room(self, load: Load, streams: int) -> bool:
        """May another request be sent beside those of `load`, where a limit is enough for so many `streams`?"""
        return load.has_room(min(self.pace.allowed, streams), min(self.pace.most, streams))

    def may_ask(self, origin: Origin, *, asked: bool) -> bool:
        """May another request go to `origin`, which is being ``asked`` already?

        Until a server has answered well once, one try at a time asks it: a wrong URL costs one request, not sixteen.
        """
        return origin not in self.paused and (origin in self.reached or not asked)

    def met(self, rtt: float) -> None:
        """Take note of a connection's round trip, in seconds."""
        self.pace = self.pace.met(rtt)

    def to_warm(self, origin: Origin) -> bool:
        """Is it time to open connections to `origin`, which has not answered yet? Once, when its distance is known."""
        due = bool(self.pace.rtt) and origin not in self.reached and origin not in self.warmed
        if due:
            self.warmed.add(origin)
        return due

    def answered(self, origin: Origin, seconds: float) -> bool:
        """Take note of a good answer whose head came after `seconds`; True where it is the first one from `origin`."""
        self.pace = self.pace.answered(seconds)
        first = origin not in self.reached
        self.reached.add(origin)
        return first

    def brought(self, origin: Origin | None, now: float, size: int, seconds: float) -> None:
        """Take note of a stream that brought `size` bytes in `seconds`."""
        self.pace = self.pace.brought(now, size, seconds)

    def busy(self, origin: Origin, now: float, delay: float | None) -> None:
        """`origin` has too much to do, and may have said for how many seconds (`delay`) it is to be left alone."""
        self.pace = self.pace.busy(now)
        if delay is not None:
            self.paused[origin] = now + delay

    def observe(self, now: float, received: int, load: Load, *, free: bool = True) -> None:
        """As `Pace.observe`, under `load`; where a limit bounds the rate, and so it is not `free`, it tells nothing."""
        self.pace = self.pace.observe(now, received, free and load.fills(self.pace.allowed))

    def resume(self, now: float) -> None:
        """Let those be asked again whose pause is over."""
        self.paused = {origin: until for origin, until in self.paused.items() if until > now}
