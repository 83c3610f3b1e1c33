"""A simulator of lines, driven by the fetcher's own decisions (`engine.pace`, `engine.plan`): a whole download of
gigabytes in a fraction of a second, on a clock of its own.

What a line does to a stream, simplified: three round trips before the first byte on a new connection (TCP, TLS 1.3, the
request) and one on a kept one, or on one that was opened ahead, while the first request was on its way; slow start from
10 segments, doubling each round trip; then the least of what losses
permit (Mathis et al. 1997), what the server permits a stream, and a share of the link in proportion to the demand. A
line may become another one while it is used; the round trip stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, sqrt

from modelferry.engine.download.task_queue import TaskQueue
from modelferry.engine.download.tasks import RangeTask
from modelferry.engine.pacing import (
    ConcurrencyController,
    Load,
    Meter,
    Stream,
    backoff,
    cut_of,
    find_slow,
    next_part,
    silent,
    victim,
)
from modelferry.http.transport.throttle import LEAST_STREAM
from modelferry.manifest import chunks_of
from unit.engine.task_queue_use import pop

SEGMENT = 1448
MB = 1e6


@dataclass(frozen=True, slots=True)
class Line:
    """``capacity`` in bytes per second, ``rtt`` in seconds, ``loss`` as a probability; ``cap``: bytes per second that
    the server gives a stream, and ``burst`` the bytes of each answer that pass before; ``busy_above``: requests at once
    beyond which it answers 429; ``odd``: what connection number n brings at most at a time, where it is not as the
    others; ``later``: when it becomes another line."""

    capacity: float
    rtt: float
    loss: float = 0.0
    cap: float = inf
    burst: float = 0.0
    busy_above: int = 1000
    odd: Callable[[int, float], float] = lambda number, now: inf
    later: tuple[float, Line] | None = None

    @property
    def stream(self) -> float:
        """Bytes per second that one stream reaches when it is alone."""
        return min(self.free_stream, self.cap)

    @property
    def free_stream(self) -> float:
        """The same, as far as the server does not cap it."""
        mathis = SEGMENT / self.rtt * 1.22 / sqrt(self.loss) if self.loss else inf
        return min(mathis, self.capacity)

    def at(self, now: float) -> Line:
        """What it is by then."""
        return self.later[1].at(now) if self.later is not None and now >= self.later[0] else self


@dataclass(slots=True)
class _Connection:
    number: int
    rate: float


@dataclass(slots=True, eq=False)
class _Try:
    task: RangeTask
    connection: _Connection
    began: float
    first_byte: float
    end: int
    at: float
    meter: Meter = field(default_factory=Meter)
    refused: bool = False


@dataclass(slots=True)
class Download:
    """One file of `size` bytes over `line`, of which this side takes at most `limit` bytes per second, by the clock.
    After `run`: ``seconds`` it took; ``wasted`` bytes that were sent for
    nothing; ``busy`` answers; ``dropped`` and ``shared`` streams; ``most`` connections at once; ``history`` of (time,
    allowed)."""

    line: Line
    size: int
    connections: int = 16
    adaptive: bool = True
    step: float = 0.05
    limit: Callable[[float], float] = lambda now: inf
    seconds: float = 0.0
    wasted: float = 0.0
    busy: int = 0
    dropped: int = 0
    shared: int = 0
    most: int = 0
    history: list[tuple[float, int]] = field(default_factory=list)

    _now: float = 0.0
    _received: float = 0.0
    _done: int = 0
    _opened: int = 0
    _limited: bool = False
    _pace: ConcurrencyController = field(init=False)
    _backlog: TaskQueue = field(default_factory=TaskQueue)
    _tries: list[_Try] = field(default_factory=list)
    _idle: list[_Connection] = field(default_factory=list)

    def run(self) -> Download:
        """The whole of it."""
        self._pace = ConcurrencyController.start(self.connections)
        if not self.adaptive:
            self._pace = ConcurrencyController(self.connections, self.connections, self.connections)
        for chunk in chunks_of(0, self.size):
            self._backlog.push(RangeTask.of(chunk))
        if self.adaptive:
            self._pace = self._pace.met(self.line.rtt)
            self._idle = [self._connection() for _ in range(self._pace.allowed)]
            self._now = 3 * self.line.rtt
        while self._done < self.size:
            self._dispatch()
            self._advance()
            assert self._now < 1e5, "it never ends"
        self.seconds = self._now
        return self

    @property
    def share(self) -> float:
        """Of what the line could have carried in that time."""
        return self.size / self.seconds / min(self.line.capacity, self.connections * self.line.stream)

    # As DownloadCoordinator._dispatch and DownloadCoordinator._next.

    def _dispatch(self) -> None:
        now = self._now
        if self.adaptive and not self._limited:
            for stream in find_slow(self._streams(), self._pace, now):
                self._drop(stream)
        bound = max(1, min(self._pace.allowed, self.limit(now) // LEAST_STREAM))
        while len(self._tries) < bound and (task := self._next()):
            self._start(task)
        if self.adaptive:
            full = Load(len(self._tries), 0).fills(self._pace.allowed) and not self._limited
            self._pace = self._pace.observe(now, int(self._received), full)
        if not self.history or self.history[-1][1] != self._pace.allowed:
            self.history.append((now, self._pace.allowed))
        self.most = max(self.most, len(self._tries))

    def _next(self) -> RangeTask | None:
        task = pop(self._backlog, self._now)
        if not self.adaptive or (task is None and self._limited):
            return task
        if task is None:
            if len(self._backlog):
                return None
            for stream in silent(self._streams(), self._pace, self._now):
                self._drop(stream)
            found = victim(self._streams(), self._pace, self._now)
            if found is None:
                return None
            stream = found
            assert isinstance(stream.key, _Try)
            self.shared += 1
            _, half = stream.key.task.split(cut_of(stream, self._pace))
            half = RangeTask(half.chunk, half.start, stream.key.end)
            stream.key.end = half.start
            return half
        part, rest = next_part(self._pace, task, self._backlog.bytes)
        if rest is not None:
            self._backlog.push(rest)
        return part

    def _streams(self) -> list[Stream]:
        found = []
        for one in self._tries:
            one.meter = one.meter.sampled(self._now, int(one.at) - one.task.start)
            found.append(Stream(one, "origin", int(one.at), one.end, one.meter, drops=one.task.drops))
        return found

    # The line.

    def _start(self, task: RangeTask) -> None:
        rtt = self.line.rtt
        kept = self._idle.pop() if self._idle else None
        connection = kept or self._connection()
        first_byte = self._now + (rtt if kept else 3 * rtt)
        one = _Try(task, connection, self._now, first_byte, task.end, task.start)
        one.refused = sum(not other.refused for other in self._tries) >= self.line.at(self._now).busy_above
        self._tries.append(one)

    def _connection(self) -> _Connection:
        self._opened += 1
        return _Connection(self._opened, 10 * SEGMENT / self.line.rtt)

    def _drop(self, stream: Stream) -> None:
        one = stream.key
        assert isinstance(one, _Try)
        self.dropped += 1
        self._tries.remove(one)
        self._cut_off(one)
        self._done += int(one.at) - one.task.start
        rest = RangeTask(one.task.chunk, int(one.at), one.end, drops=one.task.drops + 1)
        self._backlog.push(rest)

    def _cut_off(self, one: _Try) -> None:
        """A connection is closed: what is on its way was sent for nothing."""
        self.wasted += one.connection.rate * self.line.rtt

    def _advance(self) -> None:
        now, step = self._now + self.step, self.step
        flowing = []
        for one in list(self._tries):
            if now >= one.first_byte and one.refused:
                self._refuse(one, now)
            elif now >= one.first_byte:
                flowing.append((one, self._demand(one, now)))
        total = sum(demand for _, demand in flowing)
        self._limited = total > self.limit(now) < self.line.at(now).capacity
        scale = min(1.0, self.line.at(now).capacity / total, self.limit(now) / total) if total else 1.0
        for one, demand in flowing:
            if not one.meter.samples or one.at == one.task.start:
                self._pace = self._pace.answered(self.line.rtt)
            got = min(demand * scale * min(step, now - one.first_byte), one.end - one.at)
            one.connection.rate = demand * scale
            one.at += got
            self._received += got
            if one.at >= one.end:
                self._finish(one, now)
        self._now = now

    def _demand(self, one: _Try, now: float) -> float:
        line = self.line.at(now)
        bursting = one.at - one.task.start < line.burst
        limit = min(line.free_stream if bursting else line.stream, line.odd(one.connection.number, now))
        return min(limit, max(one.connection.rate, 10 * SEGMENT / self.line.rtt) * 2 ** (self.step / self.line.rtt))

    def _finish(self, one: _Try, now: float) -> None:
        self._tries.remove(one)
        self._pace = self._pace.brought(now, one.end - one.task.start, now - one.began)
        self._done += one.end - one.task.start
        if one.end == one.task.end:
            self._idle.append(one.connection)
        else:
            self._cut_off(one)

    def _refuse(self, one: _Try, now: float) -> None:
        self._tries.remove(one)
        self._idle.append(one.connection)
        self.busy += 1
        self._pace = self._pace.busy(now)
        again = one.task.after(one.task.start)
        self._backlog.push(again, now + backoff(again.failures, 0.5))
