"""One try at part of a chunk, or at one file as a stream: ask, judge, write, report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from modelferry.engine.checkpoint.api import Checkpoint, CommitResult, WrittenChunk
from modelferry.engine.download.events import (
    Attempt,
    AttemptFailed,
    ChunkReported,
    PartWritten,
    ProbeCompleted,
    Requeued,
    StreamCompleted,
    VersionConflict,
)
from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.download.range_task import RangeTask
from modelferry.engine.response import Action, Expectation, Verdict, ended, judge
from modelferry.engine.storage.incoming_files import IncomingFiles, Sink
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
from modelferry.http.client import HTTPClient
from modelferry.http.transport.pipelining import Unanswered
from modelferry.http.transport.response import Response
from modelferry.http.wire import ProtocolError, Request, ServerBehavior

#: Seconds that a try which is called off waits for the answer to its report.
_LAST_WORD = 5.0
#: What the errors of the route to a server are in the catalogue.
_BEHAVIORS: dict[type[Stalled], ServerBehavior] = {
    CertificateRefused: ServerBehavior.CERTIFICATE_REFUSED,
    Denied: ServerBehavior.UNAUTHORIZED,
    PrivateAddress: ServerBehavior.PRIVATE_ADDRESS,
    ProxyDenied: ServerBehavior.PROXY_AUTHENTICATION_REQUIRED,
    ProxyRefused: ServerBehavior.PROXY_CONNECT_FAILED,
}


class _Fault(Exception):
    """A verdict on its way out of a try."""

    def __init__(self, verdict: Verdict, cause: Stalled | None = None) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict
        self.cause = cause


@dataclass(slots=True)
class AttemptRunner:
    """What every try needs. ``reached`` is told of every place that answers with content, and after how many seconds;
    ``fetched`` counts the bytes of content that came over the network, ``received`` those of each mirror."""

    http_client: HTTPClient
    disk: IncomingFiles
    checkpoint: Checkpoint
    plain_http: bool
    reached: Callable[[LocationState, float], None]
    clock: Callable[[], float]
    fetched: int = 0
    received: Counter[str] = field(default_factory=Counter)

    def pipelines(self, file: FileDownload, location: LocationState, task: RangeTask) -> bool:
        """Is `task` sent behind others on a connection? A small file is, at the first try. Where answers came in the
        wrong order, its digest tells; that it is not taken for a mirror's lie, there must be no other."""
        plain = task.small and task.size == file.entry.size and not (task.failures or task.whole or task.alone)
        told = file.entry.digest is not None and len(file.usable) == 1
        return (
            plain
            and told
            and not location.redirect_url
            and self.http_client.can_pipeline(location.request_url, location.mirror)
        )

    async def part(
        self, location: LocationState, attempt: Attempt
    ) -> ChunkReported | PartWritten | VersionConflict | AttemptFailed | Requeued:
        """Fetch part of a chunk, or all of it; the one that completes the chunk has it committed."""
        file, task = attempt.file, attempt.remaining
        try:
            if task.reopen:
                self.http_client.stop_pipelining()
                await self.checkpoint.mark_pending(file.number, task.chunk.index)
            async with self.disk.open(file.entry.path) as sink:
                return await self._part(location, attempt, task, sink)
        except _Fault as fault:
            return _missed(location, attempt, task, fault.verdict, fault.cause)
        except Unanswered:
            return Requeued(attempt.remaining, location)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return _missed(location, attempt, task, _broken(error))
        except asyncio.CancelledError:
            if not attempt.dropped:
                raise
            return _missed(
                location,
                attempt,
                task,
                Verdict(Action.WAIT, ServerBehavior.STALLED, "was slow to answer", SourceUnavailable),
            )

    async def _part(
        self, location: LocationState, attempt: Attempt, task: RangeTask, sink: Sink
    ) -> ChunkReported | PartWritten | VersionConflict | AttemptFailed:
        file, chunk, began = attempt.file, task.chunk, self.clock()
        assembly = file.assembly(chunk)
        whole_file = task.start == 0 and task.end == file.entry.size
        request = Request(location.request_url, task.start, None if whole_file else task.end, task.fresh)
        expectation = file.expectation(location, plain_http=self.plain_http)
        answer, verdict = await self._ask(request, location, expectation, pipelined=attempt.pipelined)
        try:
            self._see(location, verdict)
            if not assembly.joins(task, (location.mirror, verdict.validator, sink.inode)):
                return VersionConflict(task, location)
            attempt.answer = answer
            if not whole_file:
                location.keep_range()
            await self._take(answer, verdict, attempt, sink)
        finally:
            attempt.answer = None
            answer.close()
        attempt.seconds = self.clock() - began
        if attempt.at < attempt.end:
            short = Verdict(
                Action.WAIT, ServerBehavior.SHORTER_RANGE, "answered a shorter range", SourceUnavailable, delay=0.0
            )
            return _missed(location, attempt, task, short)
        assembly.held += attempt.end - task.start
        attempt.received = 0
        if verdict.digest:
            assembly.digests.append((verdict.start, verdict.start + verdict.length, verdict.digest.hex()))
        if not assembly.complete:
            return PartWritten(attempt.remaining, location)
        facts = (sink.inode, verdict.validator, location.mirror, tuple(assembly.digests))
        attempt.reported = True
        receipt = await self.report(WrittenChunk(file.number, chunk.index, file.generation, *facts))
        return ChunkReported(task, location, receipt)

    async def _take(self, answer: Response, verdict: Verdict, attempt: Attempt, sink: Sink) -> None:
        """Write what comes up to `transfer.end`; where that was moved, the rest of the answer is left unread."""
        taken = 0
        async with aclosing(answer.body(verdict.length)) as body:
            async for content in body:
                self._count(attempt, len(content))
                taken += len(content)
                room = content[: min(verdict.start + verdict.length, attempt.end) - attempt.at]
                await sink.write(room, attempt.at)
                attempt.at += len(room)
                if attempt.at >= attempt.end < verdict.start + verdict.length:
                    return
        self._end(answer, verdict, taken)

    async def stream(
        self, file: FileDownload, location: LocationState, task: RangeTask, attempt: Attempt
    ) -> StreamCompleted | AttemptFailed:
        """Fetch the whole file as one response, committing the missing chunks as they pass."""
        request = Request(location.request_url, fresh=task.fresh)
        stream = _Stream(file, self)
        try:
            async with self.disk.open(file.entry.path) as sink:
                answer, verdict = await self._ask(
                    request, location, file.expectation(location, plain_http=self.plain_http)
                )
                try:
                    self._see(location, verdict)
                    taken = 0
                    async with aclosing(answer.body(verdict.length)) as body:
                        async for content in body:
                            self._count(attempt, len(content))
                            taken += len(content)
                            await stream.take(content[: verdict.length - stream.at], sink, location, verdict, attempt)
                    self._end(answer, verdict, taken)
                finally:
                    answer.close()
                return StreamCompleted(task, location, stream.stale)
        except _Fault as fault:
            return AttemptFailed(task, location, fault.verdict, cause=fault.cause, progressed=stream.progressed)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return AttemptFailed(task, location, _broken(error), progressed=stream.progressed)

    async def probe(self, file: FileDownload, location: LocationState) -> ProbeCompleted:
        """Ask `location` for the first byte of `file`. A server that sends all of it is well too."""
        request = Request(location.request_url, 0, min(1, file.entry.size) or None)
        expectation = replace(file.expectation(location, plain_http=self.plain_http), pinned=True, validator=None)
        try:
            answer, verdict = await self._ask(request, location, expectation)
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
            return ProbeCompleted(location.mirror, "" if well else reason + fault.verdict.message)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return ProbeCompleted(location.mirror, error.message)
        return ProbeCompleted(location.mirror)

    async def report(self, report: WrittenChunk) -> CommitResult:
        """Hand a chunk to the checkpoint. A try that is called off now still waits for the answer: what is committed
        must be known, because a committed chunk is never written to."""
        asked = asyncio.ensure_future(self.checkpoint.commit_chunk(report))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            await asyncio.wait([asked], timeout=_LAST_WORD)
            if not asked.done():
                asked.cancel()
                raise
            return asked.result()

    async def _ask(
        self, request: Request, location: LocationState, expectation: Expectation, *, pipelined: bool = False
    ) -> tuple[Response, Verdict]:
        """The answer with content in it, behind any redirects; raises _Fault where there is none. The first request is
        ``pipelined`` where it may be sent behind others on a connection; then this raises Unanswered as well."""
        again, mirror = False, location.mirror
        # Where a redirect led an earlier request. Other tries may have forgotten it, or know a newer one, by now.
        routed = request.url != location.url
        address = "" if routed else await self.http_client.presigned_url(location.url, mirror)
        request = replace(request, url=address or request.url)
        while True:
            answer = await self._dial(request, mirror, again, pipelined)
            verdict = judge(request, answer.head, expectation)
            if verdict.action is Action.TAKE:
                self.reached(location, answer.waited)
                location.redirect_url = request.url if request.url not in (location.url, address) else ""
                return answer, verdict
            try:
                await answer.skip()
            finally:
                answer.close()  # else who stands behind would wait for ever
            if answer.pipelined and verdict.action not in (Action.FOLLOW, Action.WAIT):
                # It may be another one's answer, and is nothing to hold against this place.
                self.http_client.stop_pipelining()
                raise Unanswered
            if pipelined and verdict.action is Action.FOLLOW:
                # So will the other small files be, and each asks two servers, or one twice: nothing is saved.
                self.http_client.stop_pipelining()
            pipelined = False
            if verdict.action is Action.FOLLOW:
                expectation = replace(expectation, hops=(*expectation.hops, request.url))
                self._follow(request.url, verdict.location, location)
                request = replace(request, url=verdict.location)
            elif verdict.action is Action.RECONNECT and not again:
                again = True
            elif routed and verdict.action is Action.REFUSE:
                # Row 38: where a redirect led may have expired; the place itself is asked once more.
                routed = False
                location.redirect_url = ""
                address = await self.http_client.presigned_url(location.url, mirror)
                request = replace(request, url=address)
            elif verdict.action is Action.REFUSE and verdict.fault is Denied and address not in ("", location.url):
                # Row 38: the permission ran out on its way, or whoever keeps it up to date is late: asked again.
                raise _Fault(
                    Verdict(
                        Action.WAIT,
                        ServerBehavior.URL_EXPIRED,
                        f"{verdict.message} to a presigned URL",
                        SourceUnavailable,
                    )
                )
            else:
                raise _Fault(verdict)

    async def _dial(self, request: Request, mirror: str, fresh: bool, pipelined: bool) -> Response:
        """Any answer; raises _Fault where the way to the server says what is wrong."""
        try:
            return await self.http_client.send(request, mirror, fresh_connection=fresh, pipelined=pipelined)
        except UnknownHost as error:
            raise _Fault(
                Verdict(Action.WAIT, ServerBehavior.NAME_RESOLUTION_FAILED, error.message, SourceUnavailable), error
            ) from error
        except (CertificateRefused, Denied, PrivateAddress, ProxyDenied, ProxyRefused) as error:
            raise _Fault(Verdict(Action.REFUSE, _BEHAVIORS[type(error)], error.message, type(error)), error) from error

    def _follow(self, url: str, to: str, location: LocationState) -> None:
        try:
            self.http_client.check_redirect(url, to, location.mirror)
        except PrivateAddress as error:
            raise _Fault(
                Verdict(Action.REFUSE, ServerBehavior.PRIVATE_ADDRESS, error.message, PrivateAddress), error
            ) from error

    def _see(self, location: LocationState, verdict: Verdict) -> None:
        location.validator = verdict.validator or location.validator

    def _count(self, attempt: Attempt, count: int) -> None:
        attempt.received += count
        self.fetched += count
        self.received[attempt.mirror] += count

    def _end(self, answer: Response, verdict: Verdict, taken: int) -> None:
        if (fault := ended(taken, verdict, answer.complete, answer.surplus)) is not None:
            raise _Fault(fault)


class _Stream:
    """Cuts a stream into its chunks: those that are missing are written and reported."""

    def __init__(self, file: FileDownload, exchange: AttemptRunner) -> None:
        self._file = file
        self._exchange = exchange
        self.at = 0
        self.progressed = False
        self.stale = False

    async def take(
        self, data: memoryview, sink: Sink, location: LocationState, verdict: Verdict, attempt: Attempt
    ) -> None:
        """The next bytes of the file."""
        while data:
            chunk = self._file.chunks[self.at // self._file.chunks[0].size]
            piece = data[: chunk.end - self.at]
            if chunk.index in self._file.missing:
                await sink.write(piece, self.at)
            self.at += len(piece)
            data = data[len(piece) :]
            if self.at == chunk.end:
                attempt.received = 0
                if chunk.index in self._file.missing:
                    await self._commit(chunk.index, sink, location, verdict)

    async def _commit(self, index: int, sink: Sink, location: LocationState, verdict: Verdict) -> None:
        file = self._file
        receipt = await self._exchange.report(
            WrittenChunk(file.number, index, file.generation, sink.inode, verdict.validator, location.mirror)
        )
        self.stale = self.stale or receipt.reason == "stale"
        if receipt.committed:
            file.missing.discard(index)
            self.progressed = True


def _missed(
    location: LocationState, attempt: Attempt, task: RangeTask, verdict: Verdict, cause: Stalled | None = None
) -> AttemptFailed:
    """What broke off is good as far as it goes; what was wrong is good for nothing."""
    kept = attempt.at if verdict.action is Action.WAIT else task.start
    return AttemptFailed(attempt.remaining, location, verdict, kept, cause, dropped=attempt.dropped)


def _broken(error: ConnectionFailed | Stall | ProtocolError) -> Verdict:
    if isinstance(error, ProtocolError):
        return Verdict(Action.SUSPECT, error.behavior, error.message, ServerMisbehaves)
    if isinstance(error, Stall):
        return Verdict(Action.WAIT, ServerBehavior.STALLED, error.message, SourceUnavailable)
    if error.persistent_error is not SourceUnavailable:
        return Verdict(Action.WAIT, ServerBehavior.PROXY_CONNECT_FAILED, error.message, error.persistent_error)
    return Verdict(Action.WAIT, ServerBehavior.CONNECTION_RESET, error.message, SourceUnavailable)
