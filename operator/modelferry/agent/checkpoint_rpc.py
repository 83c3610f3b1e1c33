"""The RPC between ``fetch`` and ``checkpoint`` over a Unix socket: `checkpoint.api` as messages.

A frame is four bytes of length (big-endian) and that many bytes of JSON. The client first sends a greeting with the
version, then requests ``{"id", "method", "params"}``. The responses ``{"id", "result"}`` or ``{"id", "error"}`` arrive
in any order. Both sides have the manifest; ``open`` carries its revision and digest, to check that they are equal.

All requests are idempotent. If the connection breaks (the checkpoint was killed, for example), the client reconnects,
opens again and repeats the pending requests; its callers only wait longer.
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
from modelferry.checkpoint.api import (
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
from modelferry.messages.earlier_revisions import RetainedRevision

VERSION = 6
#: The limit of a frame in bytes. The longest frame, the response to ``open``, has 7 bytes for each missing chunk: this
#: is enough for 9 million chunks, which are 150 TB.
MAX_FRAME = 64 * 1024 * 1024
#: Seconds for which the client tries to (re)connect: a container's restart takes less, with its backoff.
CONNECT_TIMEOUT = 120.0
_RETRY_INTERVAL = 0.2

_LENGTH = struct.Struct(">I")


async def read_frame(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; None if the peer closed the connection. Raises ValueError if it is not a valid frame."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME:
            raise ValueError(f"a frame of {length} bytes is longer than {MAX_FRAME}")
        body = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if not isinstance(body, dict):
        raise ValueError("a frame is not a JSON object")
    return body


def encode_frame(body: dict[str, Any]) -> bytes:
    """`body` as a frame."""
    data = json.dumps(body, separators=(",", ":")).encode()
    return _LENGTH.pack(len(data)) + data


def remove_stale_socket(path: Path) -> None:
    """Remove the socket that an earlier process may have left at `path`."""
    path.unlink(missing_ok=True)


def encode_error(error: ModelferryError) -> dict[str, Any]:
    """`error` as the body of a response."""
    extra = {name: value for name in ("shortfall", "retry_after") if (value := getattr(error, name, None)) is not None}
    return {"type": type(error).__name__, "message": error.message, "reason": error.reason, "file": error.file, **extra}


def decode_error(body: dict[str, Any]) -> ModelferryError:
    """The error in a response. One of an unknown type becomes a ModelferryError."""
    kind = getattr(errors, str(body.get("type")), ModelferryError)
    if not (isinstance(kind, type) and issubclass(kind, ModelferryError)):
        kind = ModelferryError
    extra = {name: body[name] for name in ("shortfall", "retry_after") if name in body}
    error: ModelferryError = kind(body.get("message", ""), **extra)
    error.reason, error.file = body.get("reason") or error.reason, body.get("file")
    return error


class CheckpointServer:
    """Serves a Checkpoint to one client at a time."""

    def __init__(self, checkpoint: Checkpoint, manifest: Manifest) -> None:
        self._checkpoint = checkpoint
        self._manifest = manifest
        self._busy = False
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen at `path`."""
        remove_stale_socket(path)
        self._server = await asyncio.start_unix_server(self._accept, path)

    async def close(self) -> None:
        """Stop listening and close the connections."""
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
            if await self._accept_greeting(reader, writer):
                self._busy = True
                try:
                    await self._serve(reader, writer)
                finally:
                    self._busy = False
        except (ValueError, ConnectionError):
            pass  # the peer speaks another protocol, or is gone: a fetch reconnects
        finally:
            self._sessions.discard(session)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _accept_greeting(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        greeting = await read_frame(reader)
        if greeting is None:
            return False
        error: ModelferryError | None = None
        if greeting.get("version") != VERSION:
            error = InvalidSpec(f"fetch speaks version {greeting.get('version')}, checkpoint {VERSION}: use one image")
        elif self._busy:
            error = DirectoryBusy("another fetch is connected to this checkpoint")
        writer.write(encode_frame({"error": encode_error(error)} if error else {"version": VERSION}))
        await writer.drain()
        return error is None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as requests:
            while (request := await read_frame(reader)) is not None:
                requests.create_task(self._respond(request, writer))

    async def _respond(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        try:
            response = {"id": request["id"], "result": await self._call(str(request["method"]), request["params"])}
        except ModelferryError as error:
            response = {"id": request["id"], "error": encode_error(error)}
        except Exception as error:
            # Reported, because a fetch without a response would wait for ever.
            traceback.print_exc()
            bug = ModelferryError(f"checkpoint failed at {request.get('method')}: {error!r}; see its log", reason="Bug")
            response = {"id": request.get("id"), "error": encode_error(bug)}
        with contextlib.suppress(ConnectionError):
            writer.write(encode_frame(response))
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
                return [asdict(revision) for revision in await checkpoint.publish()]
            case "report_telemetry":
                active = tuple((str(path), int(offset)) for path, offset in params["active"])
                mirrors = tuple(MirrorProgress(**mirror) for mirror in params["mirrors"])
                stats = tuple((str(what), str(by), int(n), float(s)) for what, by, n, s in params["stats"])
                typed = {"active": active, "mirrors": mirrors, "stats": stats}
                return await checkpoint.report_telemetry(Telemetry(**params | typed))
            case "report_failure":
                return await checkpoint.report_failure(decode_error(params))
        raise InvalidSpec(f"checkpoint does not know {method!r}: use one image")


class CheckpointClient:
    """Implements api.Checkpoint over the socket at `path`."""

    def __init__(self, path: Path, *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        """`connect_timeout`: seconds without a connection after which requests fail with ConnectionFailed."""
        self._path = path
        self._connect_timeout = connect_timeout
        self._identity: dict[str, Any] | None = None
        self._pending: dict[int, tuple[dict[str, Any], asyncio.Future[Any]]] = {}
        self._last_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._connection_task: asyncio.Task[None] | None = None

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

    async def publish(self) -> tuple[RetainedRevision, ...]:
        """See api.Checkpoint."""
        return _retained(await self._request("publish", {}))

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint."""
        await self._request("report_telemetry", asdict(telemetry))

    async def report_failure(self, error: ModelferryError) -> None:
        """See api.Checkpoint."""
        await self._request("report_failure", encode_error(error))

    async def close(self) -> None:
        """Close the connection and cancel the pending requests."""
        if self._connection_task is not None:
            self._connection_task.cancel()
            await asyncio.gather(self._connection_task, return_exceptions=True)
        for _, response in self._pending.values():
            response.cancel()

    async def _request(self, method: str, params: dict[str, Any]) -> Any:
        if self._connection_task is None or self._connection_task.done():
            self._connection_task = asyncio.create_task(self._keep_connected())
        self._last_id += 1
        number = self._last_id
        request = {"id": number, "method": method, "params": params}
        response: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[number] = (request, response)
        if self._writer is not None:
            self._writer.write(encode_frame(request))
        try:
            return await response
        finally:
            del self._pending[number]

    async def _keep_connected(self) -> None:
        """Keep a connection, and send the pending requests on each new one. If it fails for good, fail them all."""
        first = True
        try:
            while True:
                reader, writer = await self._connect()
                try:
                    if not first and self._identity is not None:
                        await self._reopen(reader, writer)
                    first = False
                    for request, _ in list(self._pending.values()):
                        writer.write(encode_frame(request))
                    self._writer = writer
                    await self._receive(reader)
                except (ValueError, ConnectionError):
                    await asyncio.sleep(_RETRY_INTERVAL)
                finally:
                    self._writer = None
                    writer.close()
        except Exception as error:
            for _, response in self._pending.values():
                if not response.done():
                    response.set_exception(error)

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while (body := await read_frame(reader)) is not None:
            _, response = self._pending.get(body.get("id", 0), (None, None))
            if response is None or response.done():
                continue
            if "error" in body:
                response.set_exception(decode_error(body["error"]))
            else:
                response.set_result(body.get("result"))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection, after the greeting. Raises ConnectionFailed after the timeout, and InvalidSpec if the
        checkpoint has another version."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connect_timeout
        while True:
            cause = "no process listens there"
            with contextlib.suppress(OSError, ValueError):
                reader, writer = await asyncio.open_unix_connection(self._path)
                writer.write(encode_frame({"version": VERSION}))
                greeting = await read_frame(reader)
                if greeting is not None and "error" not in greeting:
                    return reader, writer
                writer.close()
                if greeting is not None:
                    error = decode_error(greeting["error"])
                    # A fetch that was just killed may still count as connected.
                    if not isinstance(error, DirectoryBusy):
                        raise error
                    cause = error.message
            if loop.time() > deadline:
                raise ConnectionFailed(
                    f"checkpoint has not answered on {self._path} for {self._connect_timeout:.0f} s: {cause};"
                    " see the checkpoint container's log"
                )
            await asyncio.sleep(_RETRY_INTERVAL)

    async def _reopen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let a restarted checkpoint recover the directory before it receives the pending requests."""
        if any(request["method"] == "open" for request, _ in self._pending.values()):
            return
        writer.write(encode_frame({"id": 0, "method": "open", "params": self._identity}))
        response = await read_frame(reader)
        if response is None:
            raise ConnectionResetError
        if "error" in response:
            raise decode_error(response["error"])


def _identity(manifest: Manifest) -> dict[str, Any]:
    return {"revision": manifest.revision, "digest": manifest.digest}


def _written_chunk(body: dict[str, Any]) -> WrittenChunk:
    return WrittenChunk(**body | {"digests": tuple((start, end, sha256) for start, end, sha256 in body["digests"])})


def _open_result(body: dict[str, Any]) -> OpenResult:
    files = tuple(_opened_file(file) for file in body["files"])
    quarantined = tuple(QuarantinedMirror(**one) for one in body["quarantined"])
    notes, retained = tuple(body["notes"]), _retained(body["retained"])
    return OpenResult(body["root"], body["published"], files, body["rehashed"], notes, quarantined, retained)


def _retained(body: list[dict[str, Any]]) -> tuple[RetainedRevision, ...]:
    return tuple(RetainedRevision(**revision) for revision in body)


def _opened_file(body: dict[str, Any]) -> OpenedFile:
    validators = tuple((mirror, validator) for mirror, validator in body["validators"])
    return OpenedFile(body["generation"], body["verified"], tuple(body["missing"]), validators)
