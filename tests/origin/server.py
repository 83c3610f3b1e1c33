"""An HTTP/1.1 origin with real sockets, with or without TLS, that misbehaves by rules."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from origin.listener import Listener
from origin.rules import ReceivedRequest, Reply, Rule, Script, Served, reply_to

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One request in the log: ``range`` as received, ``sent`` bytes of content, ``time`` in seconds since 1970."""

    path: str
    range: str
    status: int
    sent: int
    time: float
    no_cache: bool = False
    authorization: str = ""
    query: str = ""

    @property
    def span(self) -> tuple[int, int] | None:
        """The range as (start, end), end exclusive; None without a range."""
        match = _RANGE.fullmatch(self.range)
        return (int(match[1]), int(match[2]) + 1) if match and match[2] else None


class HostileOrigin:
    """Serves `contents` (path to bytes) and the files below `root`. An asynchronous context manager.

    ``digest``: send a Content-Digest in each reply. ``rate``: bytes per second of each reply.
    """

    def __init__(
        self,
        contents: Mapping[str, bytes] | None = None,
        *,
        root: Path | None = None,
        rules: Iterable[Rule] = (),
        tls: ssl.SSLContext | None = None,
        digest: bool = False,
        rate: float | None = None,
        log: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.contents = dict(contents or {})
        self.script = Script(rules)
        self.entries: list[LogEntry] = []
        #: The requests, with their fields.
        self.received: list[ReceivedRequest] = []
        self.digest = digest
        self.rate = rate
        self._root = root
        self._tls = tls
        self._host = host
        self._listener = Listener(self._accept, host, port, tls=tls)
        self._log = log.open("a") if log else None
        self._changed = asyncio.Event()
        #: The number of accepted connections, and the addresses of the clients.
        self.accepted = 0
        self.peers: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.__aexit__()
        if self._log is not None:
            self._log.close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._listener.port

    def url(self, path: str) -> str:
        """The URL of `path`."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}/{path.lstrip('/')}"

    def requests(self, path: str) -> list[LogEntry]:
        """The log entries of one path, in the order in which the replies ended."""
        return [entry for entry in self.entries if entry.path == f"/{path.lstrip('/')}"]

    def sent(self) -> int:
        """Bytes of content sent in all replies."""
        return sum(entry.sent for entry in self.entries)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is true; it is checked after every connection and every request."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def serve_forever(self) -> None:
        """Run until cancelled."""
        await asyncio.Event().wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._changed.set()
        self.peers.add(str(writer.get_extra_info("peername")[0]))
        try:
            while await self._serve(reader, writer):
                pass
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = parse(await reader.readuntil(b"\r\n\r\n"))
        self.received.append(request)
        rules = self.script.apply(request)
        reply = reply_to(request, self._find(request.path), rules, digest=self.digest, rate=self.rate, now=time.time())
        sent = 0
        try:
            if reply.delay:
                await asyncio.sleep(reply.delay)
            async for count in self._send(request, reply, writer):
                sent += count
        finally:
            self._record(request, reply, sent)
        return reply.keeps_alive

    async def _send(self, request: ReceivedRequest, reply: Reply, writer: asyncio.StreamWriter) -> AsyncIterator[int]:
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            return
        date = _now()
        fields = (f"{name}: {value.replace('{date}', date)}" for name, value in reply.fields)
        head = [f"HTTP/1.1 {reply.status} Reason", f"Date: {date}", *fields]
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + (reply.body if request.method != "HEAD" else b""))
        if request.method == "HEAD":
            return
        at, started = 0, time.monotonic()
        for piece in self._pieces(request, reply):
            for limit in (reply.cut, reply.reset, reply.stall):
                if limit is not None:
                    piece = piece[: max(0, limit - at)]
            writer.write(_framed(piece, reply.framing))
            await writer.drain()
            at += len(piece)
            yield len(piece)
            if reply.rate:
                await asyncio.sleep(max(0.0, at / reply.rate - (time.monotonic() - started)))
            if await self._interrupt(reply, at, writer):
                return
        if reply.framing == "chunked":
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _interrupt(self, reply: Reply, at: int, writer: asyncio.StreamWriter) -> bool:
        if reply.stall is not None and at >= reply.stall:
            await asyncio.Event().wait()
        if reply.reset is not None and at >= reply.reset:
            _reset(writer)
            raise ConnectionResetError
        if reply.cut is not None and at >= reply.cut:
            writer.close()
            await writer.wait_closed()
            return True
        return False

    def _pieces(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes]:
        served = self._find(request.path)
        step = min(_BLOCK, max(1024, int(reply.rate / 20))) if reply.rate else _BLOCK
        for start in range(reply.start, reply.end, step):
            assert served is not None
            end = min(start + step, reply.end)
            piece = bytearray(served.read(start, end))
            for flip in reply.flips:
                if start <= flip < end:
                    piece[flip - start] ^= 0xFF
            yield bytes(piece)
        if reply.extra:
            yield b"\0" * reply.extra

    def _find(self, path: str) -> Served | None:
        name = path.lstrip("/")
        content = self.contents.get(name)
        if content is not None:
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            return Served(len(content), etag, "", lambda start, end: content[start:end])
        if self._root is None or ".." in name.split("/"):
            return None
        file = self._root / name
        try:
            status = file.stat()
        except OSError:
            return None
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        return Served(status.st_size, etag, _date(status.st_mtime), lambda start, end: _read(file, start, end))

    def _record(self, request: ReceivedRequest, reply: Reply, sent: int) -> None:
        fields = dict(request.fields)
        no_cache = "no-cache" in fields.get("cache-control", "")
        entry = LogEntry(
            request.path,
            fields.get("range", ""),
            reply.status,
            sent,
            time.time(),
            no_cache,
            fields.get("authorization", ""),
            request.query,
        )
        self.entries.append(entry)
        self._changed.set()
        if self._log is not None:
            print(json.dumps(asdict(entry)), file=self._log, flush=True)


def parse(head: bytes) -> ReceivedRequest:
    """Parse the head of a request."""
    line, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    fields = tuple((name.strip().lower(), value.strip()) for name, _, value in (f.partition(":") for f in rest if f))
    match = _RANGE.fullmatch(dict(fields).get("range", ""))
    path, query = unquote(urlsplit(target).path), urlsplit(target).query
    if match is None:
        return ReceivedRequest(path, method=method, fields=fields, query=query)
    return ReceivedRequest(path, int(match[1]), int(match[2]) + 1 if match[2] else None, method, fields, query)


def _framed(piece: bytes, framing: str) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" and piece else piece


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _read(file: Path, start: int, end: int) -> bytes:
    with file.open("rb") as handle:
        return os.pread(handle.fileno(), end - start, start)


def _now() -> str:
    return _date(time.time())


def _date(seconds: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))
