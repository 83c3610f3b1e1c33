"""The Unix socket between ``fetch`` and ``checkpoint``: `engine.checkpoint.api` as messages.

A frame is four bytes of length (big-endian) and that many bytes of JSON. The client's first is a greeting with the
version; then requests ``{"id", "method", "params"}`` and answers ``{"id", "result"}`` or ``{"id", "error"}``, in any
order. Both sides have the manifest; ``open`` carries its revision and digest, to make sure that it is the same.

Every request says what shall be true, so the client may send it again: when the connection breaks (the checkpoint was
killed, say), it connects anew, opens again, repeats what is unanswered, and nobody above notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelferry import errors
from modelferry.engine.checkpoint.api import (
    Checkpoint,
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.errors import ConnectionFailed, DirectoryBusy, InvalidSpec, ModelferryError
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress

VERSION = 5
#: Bytes of one frame: the longest, the answer to ``open``, has 7 bytes a missing chunk, and a petabyte has 60 million
#: of them; this is enough for 9 million, 150 TB.
MAX_FRAME = 64 * 1024 * 1024
#: Seconds that the client tries to (re)connect: a container that is restarted takes that long at most, with its
#: backoff.
PATIENCE = 120.0
_RETRY = 0.2

_LENGTH = struct.Struct(">I")


async def read_frame(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message, or None where the peer is gone. Raises ValueError on what is no frame."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME:
            raise ValueError(f"a frame of {length} bytes")
        body = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if not isinstance(body, dict):
        raise ValueError("a frame that is no object")
    return body


def frame(body: dict[str, Any]) -> bytes:
    """`body` as it goes over the socket."""
    data = json.dumps(body, separators=(",", ":")).encode()
    return _LENGTH.pack(len(data)) + data


def remove_stale(path: Path) -> None:
    """Remove the socket that an earlier life of this process may have left at `path`."""
    path.unlink(missing_ok=True)


def error_body(error: ModelferryError) -> dict[str, Any]:
    """An error as the body of an answer."""
    extra = {name: value for name in ("shortfall", "retry_after") if (value := getattr(error, name, None)) is not None}
    return {"type": type(error).__name__, "message": error.message, "reason": error.reason, "file": error.file, **extra}


def error_of(body: dict[str, Any]) -> ModelferryError:
    """The error that an answer carries; one of an unknown type is the base of all."""
    kind = getattr(errors, str(body.get("type")), ModelferryError)
    if not (isinstance(kind, type) and issubclass(kind, ModelferryError)):
        kind = ModelferryError
    extra = {name: body[name] for name in ("shortfall", "retry_after") if name in body}
    error: ModelferryError = kind(body.get("message", ""), **extra)
    error.reason, error.file = body.get("reason") or error.reason, body.get("file")
    return error


class CheckpointServer:
    """Serves one Checkpoint to one client at a time."""

    def __init__(self, checkpoint: Checkpoint, manifest: Manifest) -> None:
        self._checkpoint = checkpoint
        self._manifest = manifest
        self._busy = False
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen at `path`."""
        remove_stale(path)
        self._server = await asyncio.start_unix_server(self._accept, path)

    async def close(self) -> None:
        """Stop listening and end the session."""
        if self._server is not None:
            self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            if await self._greet(reader, writer):
                self._busy = True
                try:
                    await self._serve(reader, writer)
                finally:
                    self._busy = False
        except (ValueError, ConnectionError):
            pass  # a peer that does not speak this, or is gone: it connects again if it means it
        finally:
            self._sessions.discard(session)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        greeting = await read_frame(reader)
        if greeting is None:
            return False
        error: ModelferryError | None = None
        if greeting.get("version") != VERSION:
            error = InvalidSpec(f"fetch speaks version {greeting.get('version')}, checkpoint {VERSION}: use one image")
        elif self._busy:
            error = DirectoryBusy("another fetch is connected to this checkpoint")
        writer.write(frame({"error": error_body(error)} if error else {"version": VERSION}))
        await writer.drain()
        return error is None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as requests:
            while (request := await read_frame(reader)) is not None:
                requests.create_task(self._answer(request, writer))

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        try:
            answer = {"id": request["id"], "result": await self._call(str(request["method"]), request["params"])}
        except ModelferryError as error:
            answer = {"id": request["id"], "error": error_body(error)}
        except Exception as error:
            # Told, because a fetch that gets no answer would ask for ever.
            traceback.print_exc()
            bug = ModelferryError(f"checkpoint failed at {request.get('method')}: {error!r}; see its log", reason="Bug")
            answer = {"id": request.get("id"), "error": error_body(bug)}
        with contextlib.suppress(ConnectionError):
            writer.write(frame(answer))
            await writer.drain()

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        checkpoint = self._checkpoint
        match method:
            case "open":
                if params != _identity(self._manifest):
                    raise InvalidSpec("fetch and checkpoint were given different manifests")
                return asdict(await checkpoint.open(self._manifest))
            case "commit_chunk":
                return asdict(await checkpoint.commit_chunk(_written_chunk(params)))
            case "mark_pending":
                return await checkpoint.mark_pending(**params)
            case "restart_file":
                return asdict(await checkpoint.restart_file(**params))
            case "verify_file":
                return asdict(await checkpoint.verify_file(**params))
            case "quarantine":
                return await checkpoint.quarantine(QuarantinedMirror(**params))
            case "publish":
                return await checkpoint.publish()
            case "report_telemetry":
                active = tuple((str(path), int(offset)) for path, offset in params["active"])
                mirrors = tuple(MirrorProgress(**mirror) for mirror in params["mirrors"])
                stats = tuple((str(what), str(by), int(n), float(s)) for what, by, n, s in params["stats"])
                typed = {"active": active, "mirrors": mirrors, "stats": stats}
                return await checkpoint.report_telemetry(Telemetry(**params | typed))
            case "report_failure":
                return await checkpoint.report_failure(error_of(params))
        raise InvalidSpec(f"checkpoint does not know {method!r}: use one image")


class CheckpointClient:
    """Implements api.Checkpoint over the socket at `path`."""

    def __init__(self, path: Path, *, progress_deadline: float = PATIENCE) -> None:
        """`progress_deadline`: seconds without a connection before ConnectionFailed."""
        self._path = path
        self._patience = progress_deadline
        self._identity: dict[str, Any] | None = None
        self._requests: dict[int, tuple[dict[str, Any], asyncio.Future[Any]]] = {}
        self._last_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None

    async def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint."""
        self._identity = _identity(manifest)
        return _open_result(await self._request("open", self._identity))

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint."""
        return CommitResult(**await self._request("commit_chunk", asdict(chunk)))

    async def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        await self._request("mark_pending", {"file": file, "index": index})

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        return _opened_file(await self._request("restart_file", {"file": file, "generation": generation}))

    async def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint."""
        body = await self._request("verify_file", {"file": file})
        mirrors = tuple((mirror, count) for mirror, count in body["mirrors"])
        return VerifyResult(**body | {"missing": tuple(body["missing"]), "mirrors": mirrors})

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint."""
        await self._request("quarantine", asdict(found))

    async def publish(self) -> None:
        """See api.Checkpoint."""
        await self._request("publish", {})

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint."""
        await self._request("report_telemetry", asdict(telemetry))

    async def report_failure(self, error: ModelferryError) -> None:
        """See api.Checkpoint."""
        await self._request("report_failure", error_body(error))

    async def close(self) -> None:
        """Close the connection; what is unanswered is cancelled."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        for _, answer in self._requests.values():
            answer.cancel()

    async def _request(self, method: str, params: dict[str, Any]) -> Any:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        self._last_id += 1
        number = self._last_id
        request = {"id": number, "method": method, "params": params}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._requests[number] = (request, answer)
        if self._writer is not None:
            self._writer.write(frame(request))
        try:
            return await answer
        finally:
            del self._requests[number]

    async def _run(self) -> None:
        """Keep a connection until it cannot be had any more; then everybody who waits is told."""
        first = True
        try:
            while True:
                reader, writer = await self._connect()
                try:
                    if not first and self._identity is not None:
                        await self._reopen(reader, writer)
                    first = False
                    for request, _ in list(self._requests.values()):
                        writer.write(frame(request))
                    self._writer = writer
                    await self._receive(reader)
                except (ValueError, ConnectionError):
                    await asyncio.sleep(_RETRY)
                finally:
                    self._writer = None
                    writer.close()
        except Exception as error:
            for _, answer in self._requests.values():
                if not answer.done():
                    answer.set_exception(error)

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while (body := await read_frame(reader)) is not None:
            _, answer = self._requests.get(body.get("id", 0), (None, None))
            if answer is None or answer.done():
                continue
            if "error" in body:
                answer.set_exception(error_of(body["error"]))
            else:
                answer.set_result(body.get("result"))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that was greeted. Raises ConnectionFailed after the patience, InvalidSpec for another
        version."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            refusal = "nobody listens there"
            with contextlib.suppress(OSError, ValueError):
                reader, writer = await asyncio.open_unix_connection(self._path)
                writer.write(frame({"version": VERSION}))
                answer = await read_frame(reader)
                if answer is not None and "error" not in answer:
                    return reader, writer
                writer.close()
                if answer is not None:
                    error = error_of(answer["error"])
                    # A fetch that was killed a moment ago may still count as connected.
                    if not isinstance(error, DirectoryBusy):
                        raise error
                    refusal = error.message
            if loop.time() > deadline:
                raise ConnectionFailed(
                    f"checkpoint does not answer on {self._path} for {self._patience:.0f} s: {refusal};"
                    " see the checkpoint container's log"
                )
            await asyncio.sleep(_RETRY)

    async def _reopen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have a checkpoint that was started anew recover the directory, before anything else is asked of it."""
        if any(request["method"] == "open" for request, _ in self._requests.values()):
            return
        writer.write(frame({"id": 0, "method": "open", "params": self._identity}))
        answer = await read_frame(reader)
        if answer is None:
            raise ConnectionResetError
        if "error" in answer:
            raise error_of(answer["error"])


def _identity(manifest: Manifest) -> dict[str, Any]:
    return {"revision": manifest.revision, "digest": manifest.digest}


def _written_chunk(body: dict[str, Any]) -> WrittenChunk:
    return WrittenChunk(**body | {"digests": tuple((start, end, sha256) for start, end, sha256 in body["digests"])})


def _open_result(body: dict[str, Any]) -> OpenResult:
    files = tuple(_opened_file(file) for file in body["files"])
    quarantined = tuple(QuarantinedMirror(**one) for one in body["quarantined"])
    return OpenResult(body["root"], body["published"], files, body["rehashed"], tuple(body["notes"]), quarantined)


def _opened_file(body: dict[str, Any]) -> OpenedFile:
    validators = tuple((mirror, validator) for mirror, validator in body["validators"])
    return OpenedFile(body["generation"], body["verified"], tuple(body["missing"]), validators)
