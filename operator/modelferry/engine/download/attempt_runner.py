"""Runs an attempt: request, judge, write, have it committed. Changes nothing but the attempt itself: what it learns is
emitted as facts, what it ends as is returned."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from modelferry.checkpoint.api import Checkpoint, CommitResult, WrittenChunk
from modelferry.engine.download.attempt import Attempt
from modelferry.engine.download.events import (
    AttemptFailed,
    BytesWritten,
    ChunkCommitted,
    ChunkRejected,
    DigestCompared,
    Fact,
    Outcome,
    PartAccepted,
    PartWritten,
    ProbeCompleted,
    RedirectExpired,
    Requeued,
    ResponseAccepted,
    StreamCompleted,
    VersionConflict,
)
from modelferry.engine.download.file_download import LocationState, Provenance
from modelferry.engine.download.tasks import DigestTask, ProbeTask, RangeTask, StreamTask
from modelferry.engine.download.transitions import ChunkState
from modelferry.engine.verdicts import Action, Expectation, Verdict, ended, judge
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
from modelferry.storage.incoming_files import IncomingFiles, Sink

#: Seconds that a cancelled attempt waits for the checkpoint to answer.
_COMMIT_TIMEOUT = 5.0
#: The behaviors that errors of the route to a server stand for.
_BEHAVIORS: dict[type[Stalled], ServerBehavior] = {
    CertificateRefused: ServerBehavior.CERTIFICATE_REFUSED,
    Denied: ServerBehavior.UNAUTHORIZED,
    PrivateAddress: ServerBehavior.PRIVATE_ADDRESS,
    ProxyDenied: ServerBehavior.PROXY_AUTHENTICATION_REQUIRED,
    ProxyRefused: ServerBehavior.PROXY_CONNECT_FAILED,
}


class _Rejected(Exception):
    """A response that cannot be used, or an error in its place."""

    def __init__(self, verdict: Verdict, cause: Stalled | None = None) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict
        self.cause = cause


@dataclass(slots=True)
class AttemptRunner:
    """What every attempt needs. ``emit`` applies facts at once. ``fetched`` counts the bytes of content that arrived
    over the network, ``received`` those from each mirror."""

    http_client: HTTPClient
    disk: IncomingFiles
    checkpoint: Checkpoint
    plain_http: bool
    emit: Callable[[Fact], None]
    clock: Callable[[], float]
    fetched: int = 0
    received: Counter[str] = field(default_factory=Counter)

    def can_pipeline(self, attempt: Attempt) -> bool:
        """May its request be sent behind others on a connection? That of a small file may, if nothing failed before.
        Its digest tells if responses come in the wrong order; so that this is not taken for a corrupt mirror, there
        must be no other."""
        file, task, location = attempt.file, attempt.task, attempt.source
        if not isinstance(task, RangeTask) or not task.small or task.size != file.entry.size:
            return False
        plain = not (task.failures or task.indivisible or task.alone or location.redirect_url)
        checked = file.entry.digest is not None and len(file.usable) == 1
        return plain and checked and self.http_client.can_pipeline(location.request_url, location.mirror)

    async def run(self, attempt: Attempt) -> Outcome:
        """Do its task."""
        match attempt.task:
            case RangeTask():
                return await self._fetch_range(attempt)
            case StreamTask():
                return await self._fetch_stream(attempt, attempt.task)
            case ProbeTask():
                return await self._probe(attempt)
            case DigestTask():
                return DigestCompared(attempt.file, await self.checkpoint.verify_file(attempt.file.number))

    async def _fetch_range(self, attempt: Attempt) -> Outcome:
        """Fetch part of a chunk, or all of it; the attempt that completes the chunk has it committed."""
        file, task = attempt.file, attempt.range
        assert task is not None
        try:
            if task.reopen:
                self.http_client.stop_pipelining()
                await self.checkpoint.mark_pending(file.number, task.chunk.index)
            async with self.disk.open(file.entry.path) as sink:
                return await self._write_range(attempt, task, sink)
        except _Rejected as error:
            return _failed(attempt, task, error.verdict, error.cause)
        except Unanswered:
            return Requeued(attempt)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return _failed(attempt, task, _broken(error))
        except asyncio.CancelledError:
            if not attempt.dropped or attempt.cancelled:
                raise
            verdict = Verdict(Action.WAIT, ServerBehavior.STALLED, "was slow to answer", SourceUnavailable)
            return _failed(attempt, task, verdict)

    async def _write_range(self, attempt: Attempt, task: RangeTask, sink: Sink) -> Outcome:
        file, chunk, location, began = attempt.file, task.chunk, attempt.source, self.clock()
        entire_file = task.start == 0 and task.end == file.entry.size
        request = Request(location.request_url, task.start, None if entire_file else task.end, task.fresh)
        response, verdict = await self._request(request, attempt, pipelined=attempt.pipelined)
        provenance = Provenance(location.mirror, verdict.validator, sink.inode)
        try:
            if not file.assemblies[chunk.index].can_join(task, provenance):
                return VersionConflict(attempt)
            attempt.response = response
            self.emit(PartAccepted(attempt, provenance, ranged=not entire_file))
            await self._write_body(response, verdict, attempt, sink)
        finally:
            attempt.response = None
            response.close()
        attempt.seconds = self.clock() - began
        if attempt.at < attempt.end:
            message = "answered a shorter range"
            short = Verdict(Action.WAIT, ServerBehavior.SHORTER_RANGE, message, SourceUnavailable, delay=0.0)
            return _failed(attempt, task, short)
        digest = verdict.digest and (verdict.start, verdict.start + verdict.length, verdict.digest.hex())
        self.emit(BytesWritten(attempt, digest or None))
        if file.chunk_state(chunk.index) is not ChunkState.WRITTEN:
            return PartWritten(attempt)
        attempt.reported = True
        digests = tuple(file.assemblies[chunk.index].digests)
        result = await self.commit(_written(attempt, chunk.index, sink, verdict, digests))
        return (
            ChunkCommitted(attempt, chunk.index, result.changed)
            if result.committed
            else ChunkRejected(attempt, result.reason)
        )

    async def _write_body(self, response: Response, verdict: Verdict, attempt: Attempt, sink: Sink) -> None:
        """Write what arrives up to `attempt.end`; if that has moved, the rest of the response is left unread."""
        taken = 0
        async with aclosing(response.body(verdict.length)) as body:
            async for content in body:
                self._count(attempt, len(content))
                taken += len(content)
                wanted = content[: min(verdict.start + verdict.length, attempt.end) - attempt.at]
                await sink.write(wanted, attempt.at)
                attempt.at += len(wanted)
                if attempt.at >= attempt.end < verdict.start + verdict.length:
                    return
        _check_end(response, verdict, taken)

    async def _fetch_stream(self, attempt: Attempt, task: StreamTask) -> Outcome:
        """Fetch the file in one response, and have the missing chunks committed while it arrives."""
        stream = _Stream(attempt, self)
        try:
            async with self.disk.open(attempt.file.entry.path) as sink:
                request = Request(attempt.source.request_url, fresh=task.fresh)
                response, verdict = await self._request(request, attempt)
                try:
                    taken = 0
                    async with aclosing(response.body(verdict.length)) as body:
                        async for content in body:
                            self._count(attempt, len(content))
                            taken += len(content)
                            await stream.write(content[: verdict.length - stream.at], sink, verdict)
                    _check_end(response, verdict, taken)
                finally:
                    response.close()
                return StreamCompleted(attempt, stream.stale)
        except _Rejected as error:
            return AttemptFailed(attempt, error.verdict, cause=error.cause, progressed=stream.progressed)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return AttemptFailed(attempt, _broken(error), progressed=stream.progressed)

    async def _probe(self, attempt: Attempt) -> ProbeCompleted:
        """Request the first byte of the file. A server that sends all of it is healthy too."""
        location = attempt.source
        try:
            request = Request(location.request_url, 0, min(1, attempt.file.entry.size) or None)
            response, verdict = await self._request(request, attempt)
            try:
                if verdict.length <= 1:
                    async with aclosing(response.body(verdict.length)) as body:
                        async for _ in body:
                            pass
            finally:
                response.close()
        except _Rejected as error:
            if error.verdict.action is Action.STREAM:
                return ProbeCompleted(location.mirror)
            reason = f"{error.cause.reason}: " if isinstance(error.cause, CertificateRefused) else ""
            return ProbeCompleted(location.mirror, reason + error.verdict.message)
        except (ConnectionFailed, Stall, ProtocolError) as error:
            return ProbeCompleted(location.mirror, error.message)
        return ProbeCompleted(location.mirror)

    async def commit(self, chunk: WrittenChunk) -> CommitResult:
        """Have `chunk` committed. An attempt that is cancelled meanwhile still waits for the answer: what is committed
        must be known, because a committed chunk is never written to."""
        committing = asyncio.ensure_future(self.checkpoint.commit_chunk(chunk))
        try:
            return await asyncio.shield(committing)
        except asyncio.CancelledError:
            await asyncio.wait([committing], timeout=_COMMIT_TIMEOUT)
            if not committing.done():
                committing.cancel()
                raise
            return committing.result()

    def _expectation(self, attempt: Attempt) -> Expectation:
        expectation = attempt.file.expectation(attempt.source, plain_http=self.plain_http)
        # A probe is no part of the file: any version shows that the server answers.
        probes = isinstance(attempt.task, ProbeTask)
        return replace(expectation, pinned=True, validator=None, mark="") if probes else expectation

    async def _request(
        self, request: Request, attempt: Attempt, *, pipelined: bool = False
    ) -> tuple[Response, Verdict]:
        """The response with content, behind any redirects; raises _Rejected if there is none. The first request is
        ``pipelined`` if it may be sent behind others on a connection; then this raises Unanswered as well."""
        location, expectation, fresh_connection = attempt.source, self._expectation(attempt), False
        # Where a redirect led an earlier request. Other attempts may have forgotten it, or know a newer one, by now.
        redirected = request.url != location.url
        presigned = "" if redirected else await self.http_client.presigned_url(location.url, location.mirror)
        request = replace(request, url=presigned or request.url)
        while True:
            response = await self._send(request, attempt, fresh_connection, pipelined)
            verdict = judge(request, response.head, expectation)
            if verdict.action is Action.TAKE:
                redirect_url = request.url if request.url not in (location.url, presigned) else ""
                validator = "" if isinstance(attempt.task, ProbeTask) else verdict.validator
                self.emit(ResponseAccepted(location, response.waited, redirect_url, validator))
                return response, verdict
            try:
                await response.skip()
            finally:
                response.close()  # else those behind it would wait forever
            if response.pipelined and verdict.action not in (Action.FOLLOW, Action.WAIT):
                # It may be the response to another request, and says nothing of this location.
                self.http_client.stop_pipelining()
                raise Unanswered
            if pipelined and verdict.action is Action.FOLLOW:
                # So will the other small files be, and each takes two requests: nothing is saved.
                self.http_client.stop_pipelining()
            pipelined = False
            if verdict.action is Action.FOLLOW:
                expectation = replace(expectation, hops=(*expectation.hops, request.url))
                self._check_redirect(request.url, verdict.location, location)
                request = replace(request, url=verdict.location)
            elif verdict.action is Action.RECONNECT and not fresh_connection:
                fresh_connection = True
            elif redirected and verdict.action is Action.REFUSE:
                # Where a redirect led may have expired: the location itself is requested once more.
                redirected = False
                self.emit(RedirectExpired(location))
                presigned = await self.http_client.presigned_url(location.url, location.mirror)
                request = replace(request, url=presigned)
            else:
                raise _Rejected(_if_expired(verdict, presigned, location))

    async def _send(self, request: Request, attempt: Attempt, fresh_connection: bool, pipelined: bool) -> Response:
        """Any response; raises _Rejected if the route to the server says what is wrong."""
        options = {"fresh_connection": fresh_connection, "pipelined": pipelined}
        try:
            return await self.http_client.send(request, attempt.source.mirror, timeouts=attempt.timeouts, **options)
        except UnknownHost as error:
            verdict = Verdict(Action.WAIT, ServerBehavior.NAME_RESOLUTION_FAILED, error.message, SourceUnavailable)
            raise _Rejected(verdict, error) from error
        except (CertificateRefused, Denied, PrivateAddress, ProxyDenied, ProxyRefused) as error:
            verdict = Verdict(Action.REFUSE, _BEHAVIORS[type(error)], error.message, type(error))
            raise _Rejected(verdict, error) from error

    def _check_redirect(self, url: str, to: str, location: LocationState) -> None:
        try:
            self.http_client.check_redirect(url, to, location.mirror)
        except PrivateAddress as error:
            verdict = Verdict(Action.REFUSE, ServerBehavior.PRIVATE_ADDRESS, error.message, PrivateAddress)
            raise _Rejected(verdict, error) from error

    def _count(self, attempt: Attempt, count: int) -> None:
        attempt.received += count
        self.fetched += count
        self.received[attempt.mirror] += count


class _Stream:
    """Cuts a stream into its chunks: those that are missing are written and committed."""

    def __init__(self, attempt: Attempt, runner: AttemptRunner) -> None:
        self._attempt = attempt
        self._runner = runner
        self.at = 0
        self.progressed = False
        self.stale = False

    async def write(self, data: memoryview, sink: Sink, verdict: Verdict) -> None:
        """The next bytes of the file."""
        file = self._attempt.file
        while data:
            chunk = file.chunks[self.at // file.chunks[0].size]
            piece = data[: chunk.end - self.at]
            if chunk.index in file.missing:
                await sink.write(piece, self.at)
            self.at += len(piece)
            data = data[len(piece) :]
            if self.at == chunk.end:
                self._attempt.received = 0
                if chunk.index in file.missing:
                    await self._commit(chunk.index, sink, verdict)

    async def _commit(self, index: int, sink: Sink, verdict: Verdict) -> None:
        result = await self._runner.commit(_written(self._attempt, index, sink, verdict, ()))
        self.stale = self.stale or result.reason == "stale"
        if result.committed:
            self.progressed = True
            self._runner.emit(ChunkCommitted(self._attempt, index, result.changed))
        if self._attempt.cancelled:
            raise asyncio.CancelledError


def _written(
    attempt: Attempt, index: int, sink: Sink, verdict: Verdict, digests: tuple[tuple[int, int, str], ...]
) -> WrittenChunk:
    file = attempt.file
    return WrittenChunk(
        file.number, index, file.generation, sink.inode, verdict.validator, attempt.source.mirror, digests
    )


def _check_end(response: Response, verdict: Verdict, taken: int) -> None:
    if (wrong := ended(taken, verdict, response.surplus)) is not None:
        raise _Rejected(wrong)


def _failed(attempt: Attempt, task: RangeTask, verdict: Verdict, cause: Stalled | None = None) -> AttemptFailed:
    """What broke off is good as far as it goes; what was wrong is of no use."""
    return AttemptFailed(attempt, verdict, attempt.at if verdict.action is Action.WAIT else task.start, cause)


def _if_expired(verdict: Verdict, presigned: str, location: LocationState) -> Verdict:
    """`verdict` on a location that is requested by a URL that was presigned for it, if it was.

    If that URL is denied, it expired on its way, or whoever keeps it up to date is late: another attempt may succeed.
    """
    if verdict.action is not Action.REFUSE or verdict.error is not Denied or presigned in ("", location.url):
        return verdict
    message = f"{verdict.message} to a presigned URL"
    return Verdict(Action.WAIT, ServerBehavior.URL_EXPIRED, message, SourceUnavailable)


def _broken(error: ConnectionFailed | Stall | ProtocolError) -> Verdict:
    if isinstance(error, ProtocolError):
        return Verdict(Action.SUSPECT, error.behavior, error.message, ServerMisbehaves)
    if isinstance(error, Stall):
        return Verdict(Action.WAIT, ServerBehavior.STALLED, error.message, SourceUnavailable)
    if error.persistent_error is not SourceUnavailable:
        return Verdict(Action.WAIT, ServerBehavior.PROXY_CONNECT_FAILED, error.message, error.persistent_error)
    return Verdict(Action.WAIT, ServerBehavior.CONNECTION_RESET, error.message, SourceUnavailable)
