"""One try at part of a chunk, or at one file as a stream: ask, judge, write, report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from modelferry.engine.checkpoint.api import Checkpoint, Receipt, Written
from modelferry.engine.plan import Lease
from modelferry.engine.storage.sink import Disk, Sink
from modelferry.engine.transfer import Arrived, Landed, Missed, Mixed, Probed, Returned, Streamed, Transfer
from modelferry.engine.transport.answer import Answer
from modelferry.engine.transport.dialer import Dialer
from modelferry.engine.transport.pipe import Unanswered
from modelferry.engine.wire import Action, Expectation, ProtocolError, Request, Verdict, ended, judge
from modelferry.engine.work import FileWork, PlaceWork
from modelferry.errors import (
    CertificateRefused,
    ConnectionFailed,
    Denied,
    PrivateAddress,
    ProxyDenied,
    ProxyRefused,
    ServerMisbehaves,
    SourceUnavailable,
    Stall,
    Stalled,
    UnknownHost,
)

#: Seconds that a try which is called off waits for the answer to its report.
_LAST_WORD = 5.0
#: The catalogue's rows of what the way to a server says.
_ROWS: dict[type[Stalled], int] = {
    CertificateRefused: 47, Denied: 37, PrivateAddress: 45, ProxyDenied: 51, ProxyRefused: 52
}  # fmt: skip


class _Fault(Exception):
    """A verdict on its way out of a try."""

    def __init__(self, verdict: Verdict, cause: Stalled | None = None) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict
        self.cause = cause


@dataclass(slots=True)
class Exchange:
    """What every try needs. ``reached`` is told of every place that answers with content, and after how many seconds;
    ``fetched`` counts the bytes of content that came over the network, ``received`` those of each mirror."""

    dialer: Dialer
    disk: Disk
    checkpoint: Checkpoint
    plain_http: bool
    reached: Callable[[PlaceWork, float], None]
    clock: Callable[[], float]
    fetched: int = 0
    received: Counter[str] = field(default_factory=Counter)

    def pipelines(self, file: FileWork, place: PlaceWork, lease: Lease) -> bool:
        """Is `lease` sent behind others on a connection? A small file is, at the first try. Where answers came in the
        wrong order, its digest tells; that it is not taken for a mirror's lie, there must be no other."""
        plain = lease.small and lease.size == file.entry.size and not (lease.attempt or lease.whole or lease.alone)
        told = file.entry.digest is not None and len(file.usable) == 1
        return plain and told and not place.route and self.dialer.shares(place.url, place.place.mirror)

    async def part(self, place: PlaceWork, transfer: Transfer) -> Landed | Arrived | Mixed | Missed | Returned:
        """Fetch part of a chunk, or all of it; the one that completes the chunk has it committed."""
        file, lease = transfer.file, transfer.lease_now
        try:
            if lease.reopen:
                self.dialer.sharing.trust.spoil()
                await self.checkpoint.reopen(file.number, lease.chunk.index)
            async with self.disk.open(file.entry.path) as sink:
                return await self._part(place, transfer, lease, sink)
        except _Fault as fault:
            return _missed(place, transfer, lease, fault.verdict, fault.cause)
        except Unanswered:
            return Returned(transfer.lease_now, place)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return _missed(place, transfer, lease, _broken(error))
        except asyncio.CancelledError:
            if not transfer.dropped:
                raise
            return _missed(place, transfer, lease, Verdict(Action.WAIT, 32, "was slow to answer", SourceUnavailable))

    async def _part(
        self, place: PlaceWork, transfer: Transfer, lease: Lease, sink: Sink
    ) -> Landed | Arrived | Mixed | Missed:
        file, chunk, began = transfer.file, lease.chunk, self.clock()
        assembly = file.assembly(chunk)
        whole_file = lease.start == 0 and lease.end == file.entry.size
        request = Request(place.url, lease.start, None if whole_file else lease.end, lease.fresh)
        expectation = file.expectation(place, plain_http=self.plain_http)
        answer, verdict = await self._ask(request, place, expectation, pipelined=transfer.pipelined)
        try:
            self._see(place, verdict)
            if not assembly.joins(lease, (place.place.mirror, verdict.validator, sink.inode)):
                return Mixed(lease, place)
            transfer.answer = answer
            if not whole_file:
                place.keep_range()
            await self._take(answer, verdict, transfer, sink)
        finally:
            transfer.answer = None
            answer.close()
        transfer.seconds = self.clock() - began
        if transfer.at < transfer.end:
            short = Verdict(Action.WAIT, 4, "answered a shorter range", SourceUnavailable, delay=0.0)
            return _missed(place, transfer, lease, short)
        assembly.held += transfer.end - lease.start
        transfer.received = 0
        if verdict.digest:
            assembly.digests.append((verdict.start, verdict.start + verdict.length, verdict.digest.hex()))
        if not assembly.complete:
            return Arrived(transfer.lease_now, place)
        facts = (sink.inode, verdict.validator, place.place.mirror, tuple(assembly.digests))
        transfer.reported = True
        receipt = await self.report(Written(file.number, chunk.index, file.generation, *facts))
        return Landed(lease, place, receipt)

    async def _take(self, answer: Answer, verdict: Verdict, transfer: Transfer, sink: Sink) -> None:
        """Write what comes up to `transfer.end`; where that was moved, the rest of the answer is left unread."""
        taken = 0
        async with aclosing(answer.body(verdict.length)) as body:
            async for content in body:
                self._count(transfer, len(content))
                taken += len(content)
                room = content[: min(verdict.start + verdict.length, transfer.end) - transfer.at]
                await sink.write(room, transfer.at)
                transfer.at += len(room)
                if transfer.at >= transfer.end < verdict.start + verdict.length:
                    return
        self._end(answer, verdict, taken)

    async def stream(self, file: FileWork, place: PlaceWork, lease: Lease, transfer: Transfer) -> Streamed | Missed:
        """Fetch the whole file as one response, committing the missing chunks as they pass."""
        request = Request(place.url, fresh=lease.fresh)
        stream = _Stream(file, self)
        try:
            async with self.disk.open(file.entry.path) as sink:
                answer, verdict = await self._ask(request, place, file.expectation(place, plain_http=self.plain_http))
                try:
                    self._see(place, verdict)
                    taken = 0
                    async with aclosing(answer.body(verdict.length)) as body:
                        async for content in body:
                            self._count(transfer, len(content))
                            taken += len(content)
                            await stream.take(content[: verdict.length - stream.at], sink, place, verdict, transfer)
                    self._end(answer, verdict, taken)
                finally:
                    answer.close()
                return Streamed(lease, place, stream.stale)
        except _Fault as fault:
            return Missed(lease, place, fault.verdict, cause=fault.cause, progressed=stream.progressed)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return Missed(lease, place, _broken(error), progressed=stream.progressed)

    async def probe(self, file: FileWork, place: PlaceWork) -> Probed:
        """Ask `place` for the first byte of `file`. A server that sends all of it is well too."""
        request = Request(place.url, 0, min(1, file.entry.size) or None)
        expectation = replace(file.expectation(place, plain_http=self.plain_http), pinned=True, validator=None)
        try:
            answer, verdict = await self._ask(request, place, expectation)
            try:
                if verdict.length <= 1:
                    async with aclosing(answer.body(verdict.length)) as body:
                        async for _ in body:
                            pass
            finally:
                answer.close()
        except _Fault as fault:
            well = fault.verdict.action is Action.STREAM
            reason = f"{fault.cause.reason}: " if isinstance(fault.cause, CertificateRefused) else ""
            return Probed(place.place.mirror, "" if well else reason + fault.verdict.message)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return Probed(place.place.mirror, error.message)
        return Probed(place.place.mirror)

    async def report(self, report: Written) -> Receipt:
        """Hand a chunk to the checkpoint. A try that is called off now still waits for the answer: what is committed
        must be known, because a committed chunk is never written to."""
        asked = asyncio.ensure_future(self.checkpoint.written(report))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            await asyncio.wait([asked], timeout=_LAST_WORD)
            if not asked.done():
                asked.cancel()
                raise
            return asked.result()

    async def _ask(
        self, request: Request, place: PlaceWork, expectation: Expectation, *, pipelined: bool = False
    ) -> tuple[Answer, Verdict]:
        """The answer with content in it, behind any redirects; raises _Fault where there is none. The first request is
        ``pipelined`` where it may be sent behind others on a connection; then this raises Unanswered as well."""
        again, mirror = False, place.place.mirror
        # Where a redirect led an earlier request. Other tries may have forgotten it, or know a newer one, by now.
        routed = request.url != place.place.url
        address = "" if routed else await self.dialer.address(place.place.url, mirror)
        request = replace(request, url=address or request.url)
        while True:
            answer = await self._dial(request, mirror, again, pipelined)
            verdict = judge(request, answer.head, expectation)
            if verdict.action is Action.TAKE:
                self.reached(place, answer.waited)
                place.route = request.url if request.url not in (place.place.url, address) else ""
                return answer, verdict
            try:
                await answer.skip()
            finally:
                answer.close()  # else who stands behind would wait for ever
            if answer.behind and verdict.action not in (Action.FOLLOW, Action.WAIT):
                # It may be another one's answer, and is nothing to hold against this place.
                self.dialer.sharing.trust.spoil()
                raise Unanswered
            if pipelined and verdict.action is Action.FOLLOW:
                # So will the other small files be, and each asks two servers, or one twice: nothing is saved.
                self.dialer.sharing.trust.spoil()
            pipelined = False
            if verdict.action is Action.FOLLOW:
                expectation = replace(expectation, hops=(*expectation.hops, request.url))
                self._follow(request.url, verdict.location, place)
                request = replace(request, url=verdict.location)
            elif verdict.action is Action.RECONNECT and not again:
                again = True
            elif routed and verdict.action is Action.REFUSE:
                # Row 38: where a redirect led may have expired; the place itself is asked once more.
                routed = False
                place.route = ""
                address = await self.dialer.address(place.place.url, mirror)
                request = replace(request, url=address)
            elif verdict.action is Action.REFUSE and verdict.fault is Denied and address not in ("", place.place.url):
                # Row 38: the permission ran out on its way, or whoever keeps it up to date is late: asked again.
                raise _Fault(Verdict(Action.WAIT, 38, f"{verdict.message} to a presigned URL", SourceUnavailable))
            else:
                raise _Fault(verdict)

    async def _dial(self, request: Request, mirror: str, fresh: bool, pipelined: bool) -> Answer:
        """Any answer; raises _Fault where the way to the server says what is wrong."""
        try:
            return await self.dialer.ask(request, mirror, fresh_connection=fresh, pipelined=pipelined)
        except UnknownHost as error:
            raise _Fault(Verdict(Action.WAIT, 50, error.message, SourceUnavailable), error) from error
        except (CertificateRefused, Denied, PrivateAddress, ProxyDenied, ProxyRefused) as error:
            raise _Fault(Verdict(Action.REFUSE, _ROWS[type(error)], error.message, type(error)), error) from error

    def _follow(self, url: str, to: str, place: PlaceWork) -> None:
        try:
            self.dialer.lead(url, to, place.place.mirror)
        except PrivateAddress as error:
            raise _Fault(Verdict(Action.REFUSE, 45, error.message, PrivateAddress), error) from error

    def _see(self, place: PlaceWork, verdict: Verdict) -> None:
        place.validator = verdict.validator or place.validator

    def _count(self, transfer: Transfer, count: int) -> None:
        transfer.received += count
        self.fetched += count
        self.received[transfer.mirror] += count

    def _end(self, answer: Answer, verdict: Verdict, taken: int) -> None:
        if (fault := ended(taken, verdict, answer.whole, answer.surplus)) is not None:
            raise _Fault(fault)


class _Stream:
    """Cuts a stream into its chunks: those that are missing are written and reported."""

    def __init__(self, file: FileWork, exchange: Exchange) -> None:
        self._file = file
        self._exchange = exchange
        self.at = 0
        self.progressed = False
        self.stale = False

    async def take(self, data: memoryview, sink: Sink, place: PlaceWork, verdict: Verdict, transfer: Transfer) -> None:
        """The next bytes of the file."""
        while data:
            chunk = self._file.chunks[self.at // self._file.chunks[0].size]
            piece = data[: chunk.end - self.at]
            if chunk.index in self._file.missing:
                await sink.write(piece, self.at)
            self.at += len(piece)
            data = data[len(piece) :]
            if self.at == chunk.end:
                transfer.received = 0
                if chunk.index in self._file.missing:
                    await self._commit(chunk.index, sink, place, verdict)

    async def _commit(self, index: int, sink: Sink, place: PlaceWork, verdict: Verdict) -> None:
        file = self._file
        receipt = await self._exchange.report(
            Written(file.number, index, file.generation, sink.inode, verdict.validator, place.place.mirror)
        )
        self.stale = self.stale or receipt.why == "stale"
        if receipt.committed:
            file.missing.discard(index)
            self.progressed = True


def _missed(
    place: PlaceWork, transfer: Transfer, lease: Lease, verdict: Verdict, cause: Stalled | None = None
) -> Missed:
    """What broke off is good as far as it goes; what was wrong is good for nothing."""
    kept = transfer.at if verdict.action is Action.WAIT else lease.start
    return Missed(transfer.lease_now, place, verdict, kept, cause, dropped=transfer.dropped)


def _broken(error: ConnectionFailed | Stall | ProtocolError) -> Verdict:
    if isinstance(error, ProtocolError):
        return Verdict(Action.SUSPECT, error.row, error.message, ServerMisbehaves)
    if isinstance(error, Stall):
        return Verdict(Action.WAIT, 32, error.message, SourceUnavailable)
    if error.becomes is not SourceUnavailable:
        return Verdict(Action.WAIT, 52, error.message, error.becomes)
    return Verdict(Action.WAIT, 31, error.message, SourceUnavailable)
