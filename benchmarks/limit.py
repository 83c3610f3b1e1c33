"""``python -m benchmarks limit``: the rate that an origin measures each second while the bandwidth limit changes.

The two agents of a download pod run as in a pod, and the limit changes as the kubelet changes it: in a file. The origin
counts the bytes that the client's kernel has acknowledged (TCP_INFO, tcpi_bytes_acked), so that the buffers of both
sides do not matter; the count includes TLS and the response heads.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from modelferry.agent.bandwidth_limiter import LIMITS_FILE, SHARE_FILE
from modelferry.manifest import Digest, FileEntry, Location, encode
from modelferry.manifest.entries import content_addressed
from modelferry.values.rates import parse_rate
from origin.certs import Authority

#: Offset of tcpi_bytes_acked in Linux's struct tcp_info.
_ACKED_OFFSET = 120
_SIZE = 1 << 30
_PATTERN = bytes(range(256)) * 256
_ARTIFACT = {
    "apiVersion": "modelferry.dev/v1alpha1",
    "kind": "ModelArtifact",
    "metadata": {"name": "limit"},
    "spec": {"source": {"http": {"files": [{"path": "a.bin", "url": "https://127.0.0.1/a.bin"}]}}},
}

#: Limits, each with its duration in seconds: the first one, a higher one, and two that need only one connection.
PLAN = (("40Mbit", 10), ("80Mbit", 10), ("5Mbit", 10), ("300kbit", 10))


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a step of the plan: ``rate`` and ``limit`` in bytes per second, and the open ``connections``."""

    step: int
    limit: int
    rate: float
    connections: int

    @property
    def share(self) -> float:
        """The rate as a share of the limit."""
        return self.rate / self.limit


class _Origin:
    """Serves any range of a file of `_SIZE` bytes, and counts the acknowledged bytes."""

    def __init__(self) -> None:
        #: The acknowledged bytes of each open connection, when they were last read.
        self._open: dict[socket.socket, int] = {}
        self._closed = 0
        self.first_connection = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def acknowledged(self) -> int:
        return self._closed + sum(self._update(one) for one in self._open)

    def _update(self, connection: socket.socket) -> int:
        with suppress(OSError):  # the peer closed it: what it acknowledged since the last update is not counted
            self._open[connection] = _acked(connection)
        return self._open[connection]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        self._open[raw] = 0
        self.first_connection.set()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._respond(head, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._closed += self._update(raw)
            del self._open[raw]
            writer.close()

    async def _respond(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        requested = head.lower().partition(b"range: bytes=")[2].partition(b"\r\n")[0]
        first, _, last = requested.partition(b"-")
        start, end = int(first or 0), int(last or _SIZE - 1) + 1
        fields = f'Content-Length: {end - start}\r\nContent-Range: bytes {start}-{end - 1}/{_SIZE}\r\nETag: "1"\r\n'
        writer.write(f"HTTP/1.1 206 Partial Content\r\n{fields}\r\n".encode())
        for at in range(start, end, len(_PATTERN)):
            offset = at % len(_PATTERN)
            writer.write((_PATTERN[offset:] + _PATTERN[:offset])[: end - at])
            await writer.drain()


def _acked(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_OFFSET + 8)
    return int(struct.unpack_from("Q", info, _ACKED_OFFSET)[0])


def limit() -> int:
    """Measure, print a table, and return 0."""
    seconds = asyncio.run(_measure(PLAN))
    print(table(seconds))
    return 0


def table(seconds: Sequence[Second]) -> str:
    """A row for each second, and a summary for each limit."""
    lines = ["limit        second      Mbit/s   share of limit connections"]
    steps = dict.fromkeys((second.step, second.limit) for second in seconds)
    for step, rate in steps:
        these = [second for second in seconds if second.step == step]
        lines += [
            f"{rate * 8 / 1e6:7.3f} Mbit {number:6d} {second.rate * 8 / 1e6:11.3f} {second.share:13.1%}"
            f" {second.connections:13d}"
            for number, second in enumerate(these, 1)
        ]
        mean = sum(second.rate for second in these) / len(these) / rate
        lines.append(f"{rate * 8 / 1e6:7.3f} Mbit: maximum {max(s.share for s in these):.1%}, mean {mean:.1%}")
    return "\n".join(lines)


async def _measure(plan: Sequence[tuple[str, int]]) -> list[Second]:
    with tempfile.TemporaryDirectory() as work:
        async with _running(Path(work), plan[0][0]) as origin:
            seconds: list[Second] = []
            async with asyncio.timeout(30):
                await origin.first_connection.wait()
            for step, (rate, length) in enumerate(plan):
                if step:
                    _set(Path(work), rate)
                    await asyncio.sleep(1.5)  # the agent reads the file once a second
                seconds += [await _second(origin, step, parse_rate(rate)) for _ in range(length)]
            return seconds


async def _second(origin: _Origin, step: int, rate: int) -> Second:
    start, before = time.monotonic(), origin.acknowledged
    await asyncio.sleep(1.0)
    received = origin.acknowledged - before
    return Second(step, rate, received / (time.monotonic() - start), origin.connections)


def _set(work: Path, rate: str) -> None:
    new = work / "limits" / "new"
    new.write_text(json.dumps({"bandwidth": rate}))
    new.rename(work / "limits" / LIMITS_FILE)


@asynccontextmanager
async def _running(work: Path, rate: str) -> AsyncIterator[_Origin]:
    """Run the origin, and a download from it with the initial limit `rate`."""
    authority, origin = Authority(work), _Origin()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf = authority.leaf("127.0.0.1")
    context.load_cert_chain(leaf.cert, leaf.key)
    (work / "limits").mkdir()
    (work / "limits" / SHARE_FILE).write_text("")
    (work / "data").mkdir()
    _set(work, rate)
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context)
        stack.callback(server.close)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.bin"
        entry = FileEntry("a.bin", _SIZE, Digest("sha256", sha256(b"never compared").hexdigest()), (Location(url),))
        (work / "manifest").write_bytes(encode(content_addressed((entry,))))
        (work / "artifact").write_text(json.dumps(_ARTIFACT))
        shared = ["--manifest", work / "manifest", "--socket", work / "socket"]
        fetch = ["--artifact", work / "artifact", "--outcome", work / "outcome", "--limits", work / "limits"]
        for words in (
            ["checkpoint", "--data", work / "data", "--status-socket", work / "status", *shared],
            ["fetch", "--ca-file", authority.ca_file, *fetch, *shared],
        ):
            command = [str(Path(sys.executable).with_name("modelferry")), "agent", *map(str, words)]
            child = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
            stack.push_async_callback(child.wait)
            stack.callback(child.terminate)
        yield origin
