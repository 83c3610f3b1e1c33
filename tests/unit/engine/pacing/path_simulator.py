"""A simulator of network paths, driven by the download's own decisions (`engine.pacing`, `engine.download.tasks`):
a download of gigabytes in a fraction of a second, on a simulated clock.

What a path does to a stream, simplified: three round trips before the first byte on a new connection (TCP, TLS 1.3, the
request) and one on a kept one, or on one that was opened early, while the first request was in flight; slow start from
10 segments, doubling each round trip; then the least of what losses permit (Mathis et al. 1997), what the server
permits a stream, and a share of the link in proportion to the demand. A path may change while it is used; the round
trip time stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, sqrt

from modelferry.engine.download.task_queue import TaskQueue
from modelferry.engine.download.tasks import RangeTask, next_part
from modelferry.engine.pacing import (
    ConcurrencyController,
    Load,
    RateMeter,
    Stream,
    find_slow,
    find_stalled,
    find_steal_candidate,
    steal_offset,
    stream_meter,
)
from modelferry.http.backoff import backoff
from modelferry.http.transport.throttle import MIN_STREAM_RATE
from modelferry.manifest import chunks_of
from unit.engine.download.task_queue_use import pop

SEGMENT = 1448
MB = 1e6


@dataclass(frozen=True, slots=True)
class Path:
    """A network path. ``capacity`` in bytes per second, ``rtt`` in seconds, ``loss`` as a probability; ``cap``: bytes
    per second that the server permits a stream, and ``burst`` the bytes of each response before that limit applies;
    ``busy_above``: requests at once beyond which it answers 429; ``odd``: the most that connection number n carries at
    a time, if it differs from the others; ``later``: when it becomes another path."""

    capacity: float
    rtt: float
    loss: float = 0.0
    cap: float = inf
    burst: float = 0.0
    busy_above: int = 1000
    odd: Callable[[int, float], float] = lambda number, now: inf
    later: tuple[float, Path] | None = None

    @property
    def stream(self) -> float:
        """Bytes per second that one stream reaches when it is alone."""
        return min(self.free_stream, self.cap)

    @property
    def free_stream(self) -> float:
        """The same, as far as the server does not cap it."""
        mathis = SEGMENT / self.rtt * 1.22 / sqrt(self.loss) if self.loss else inf
        return min(mathis, self.capacity)

    def at(self, now: float) -> Path:
        """The path at clock reading `now`."""
        return self.later[1].at(now) if self.later is not None and now >= self.later[0] else self


@dataclass(slots=True)
class _Connection:
    number: int
    rate: float


@dataclass(slots=True, eq=False)
class _Attempt:
    task: RangeTask
    connection: _Connection
    began: float
    first_byte: float
    end: int
    at: float
    meter: RateMeter = field(default_factory=stream_meter)
    refused: bool = False


@dataclass(slots=True)
class Download:
    """One file of `size` bytes over `path`, of which this side receives at most `limit` bytes per second, by the clock.
    After `run`: ``seconds`` it took; ``wasted`` bytes that were sent in
    vain; ``busy`` responses; ``dropped`` and ``shared`` streams; ``most`` connections at once; ``history`` of (time,
    allowed)."""

    path: Path
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
    _controller: ConcurrencyController = field(init=False)
    _queue: TaskQueue = field(default_factory=TaskQueue)
    _attempts: list[_Attempt] = field(default_factory=list)
    _idle: list[_Connection] = field(default_factory=list)

    def run(self) -> Download:
        """Run it to its end."""
        self._controller = ConcurrencyController.start(self.connections)
        if not self.adaptive:
            self._controller = ConcurrencyController(self.connections, self.connections, self.connections)
        for chunk in chunks_of(0, self.size):
            self._queue.push(RangeTask.of(chunk))
        if self.adaptive:
            self._controller = self._controller.record_round_trip(self.path.rtt)
            self._idle = [self._connection() for _ in range(self._controller.allowed)]
            self._now = 3 * self.path.rtt
        while self._done < self.size:
            self._dispatch()
            self._advance()
            assert self._now < 1e5, "the download does not end"
        self.seconds = self._now
        return self

    @property
    def share(self) -> float:
        """The part used of what the path could have carried in that time."""
        return self.size / self.seconds / min(self.path.capacity, self.connections * self.path.stream)

    # As the download's coordinator and scheduler.

    def _dispatch(self) -> None:
        now = self._now
        if self.adaptive and not self._limited:
            for stream in find_slow(self._streams(), self._controller, now):
                self._drop(stream)
        bound = max(1, min(self._controller.allowed, self.limit(now) // MIN_STREAM_RATE))
        while len(self._attempts) < bound and (task := self._next()):
            self._start(task)
        if self.adaptive:
            representative = (
                Load(len(self._attempts), 0).is_representative(self._controller.allowed) and not self._limited
            )
            self._controller = self._controller.observe(now, int(self._received), representative)
        if not self.history or self.history[-1][1] != self._controller.allowed:
            self.history.append((now, self._controller.allowed))
        self.most = max(self.most, len(self._attempts))

    def _next(self) -> RangeTask | None:
        task = pop(self._queue, self._now)
        if not self.adaptive or (task is None and self._limited):
            return task
        if task is None:
            if len(self._queue):
                return None
            for stream in find_stalled(self._streams(), self._controller, self._now):
                self._drop(stream)
            found = find_steal_candidate(self._streams(), self._controller, self._now)
            if found is None:
                return None
            stream = found
            assert isinstance(stream.key, _Attempt)
            self.shared += 1
            _, half = stream.key.task.split(steal_offset(stream, self._controller))
            half = RangeTask(half.chunk, half.start, stream.key.end)
            stream.key.end = half.start
            return half
        part, rest = next_part(self._controller, task, self._queue.bytes)
        if rest is not None:
            self._queue.push(rest)
        return part

    def _streams(self) -> list[Stream]:
        found = []
        for one in self._attempts:
            one.meter = one.meter.sampled(self._now, int(one.at) - one.task.start)
            found.append(Stream(one, "origin", int(one.at), one.end, one.meter, drops=one.task.drops))
        return found

    # The path.

    def _start(self, task: RangeTask) -> None:
        rtt = self.path.rtt
        kept = self._idle.pop() if self._idle else None
        connection = kept or self._connection()
        first_byte = self._now + (rtt if kept else 3 * rtt)
        one = _Attempt(task, connection, self._now, first_byte, task.end, task.start)
        one.refused = sum(not other.refused for other in self._attempts) >= self.path.at(self._now).busy_above
        self._attempts.append(one)

    def _connection(self) -> _Connection:
        self._opened += 1
        return _Connection(self._opened, 10 * SEGMENT / self.path.rtt)

    def _drop(self, stream: Stream) -> None:
        one = stream.key
        assert isinstance(one, _Attempt)
        self.dropped += 1
        self._attempts.remove(one)
        self._cut_off(one)
        self._done += int(one.at) - one.task.start
        rest = RangeTask(one.task.chunk, int(one.at), one.end, drops=one.task.drops + 1)
        self._queue.push(rest)

    def _cut_off(self, one: _Attempt) -> None:
        """A connection is closed: what is in flight is lost."""
        self.wasted += one.connection.rate * self.path.rtt

    def _advance(self) -> None:
        now, step = self._now + self.step, self.step
        flowing = []
        for one in list(self._attempts):
            if now >= one.first_byte and one.refused:
                self._refuse(one, now)
            elif now >= one.first_byte:
                flowing.append((one, self._demand(one, now)))
        total = sum(demand for _, demand in flowing)
        self._limited = total > self.limit(now) < self.path.at(now).capacity
        scale = min(1.0, self.path.at(now).capacity / total, self.limit(now) / total) if total else 1.0
        for one, demand in flowing:
            if not one.meter.samples or one.at == one.task.start:
                self._controller = self._controller.record_response_head(self.path.rtt)
            got = min(demand * scale * min(step, now - one.first_byte), one.end - one.at)
            one.connection.rate = demand * scale
            one.at += got
            self._received += got
            if one.at >= one.end:
                self._finish(one, now)
        self._now = now

    def _demand(self, one: _Attempt, now: float) -> float:
        path = self.path.at(now)
        bursting = one.at - one.task.start < path.burst
        limit = min(path.free_stream if bursting else path.stream, path.odd(one.connection.number, now))
        return min(limit, max(one.connection.rate, 10 * SEGMENT / self.path.rtt) * 2 ** (self.step / self.path.rtt))

    def _finish(self, one: _Attempt, now: float) -> None:
        self._attempts.remove(one)
        self._controller = self._controller.record_throughput(now, one.end - one.task.start, now - one.began)
        self._done += one.end - one.task.start
        if one.end == one.task.end:
            self._idle.append(one.connection)
        else:
            self._cut_off(one)

    def _refuse(self, one: _Attempt, now: float) -> None:
        self._attempts.remove(one)
        self._idle.append(one.connection)
        self.busy += 1
        self._controller = self._controller.record_busy(now)
        again = one.task.after(one.task.start)
        self._queue.push(again, now + backoff(again.failures, 0.5))
