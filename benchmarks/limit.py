"""``python -m benchmarks limit``: what the origin sees, second by second, of a download whose limit is changed.

The two agents of a download pod run as a pod runs them, and their limit is changed as the kubelet changes it: in a
file. The origin counts what the client's kernel has acknowledged (TCP_INFO, tcpi_bytes_acked), so neither side's
buffers hide anything; TLS and the heads of requests are in the count.
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
_ACKED = 120
_SIZE = 1 << 30
_PIECE = bytes(range(256)) * 256
_ARTIFACT = {
    "apiVersion": "modelferry.dev/v1alpha1",
    "kind": "ModelArtifact",
    "metadata": {"name": "limit"},
    "spec": {"source": {"http": {"files": [{"path": "a.bin", "url": "https://127.0.0.1/a.bin"}]}}},
}

#: What is set, and for how many seconds: the start, a raise in flight, and limits that one connection is enough for.
PLAN = (("40Mbit", 10), ("80Mbit", 10), ("5Mbit", 10), ("300kbit", 10))


@dataclass(frozen=True, slots=True)
class Second:
    """What came in one second of a limit: ``rate`` and ``limit`` in bytes per second, over ``connections``."""

    step: int
    limit: int
    rate: float
    connections: int

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.rate / self.limit


class _Origin:
    """Serves any range of `_SIZE` bytes of a pattern, and counts what arrived."""

    def __init__(self) -> None:
        #: Bytes that each connection's peer had acknowledged when it was last looked at.
        self._open: dict[socket.socket, int] = {}
        self._before = 0
        self.began = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def acknowledged(self) -> int:
        return self._before + sum(self._look(one) for one in self._open)

    def _look(self, one: socket.socket) -> int:
        with suppress(OSError):  # the peer broke it off: what it acknowledged since the last look is lost
            self._open[one] = _acked(one)
        return self._open[one]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        self._open[raw] = 0
        self.began.set()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._before += self._look(raw)
            del self._open[raw]
            writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        asked = head.lower().partition(b"range: bytes=")[2].partition(b"\r\n")[0]
        first, _, last = asked.partition(b"-")
        start, end = int(first or 0), int(last or _SIZE - 1) + 1
        fields = f'Content-Length: {end - start}\r\nContent-Range: bytes {start}-{end - 1}/{_SIZE}\r\nETag: "1"\r\n'
        writer.write(f"HTTP/1.1 206 Partial Content\r\n{fields}\r\n".encode())
        for at in range(start, end, len(_PIECE)):
            offset = at % len(_PIECE)
            writer.write((_PIECE[offset:] + _PIECE[:offset])[: end - at])
            await writer.drain()


def _acked(one: socket.socket) -> int:
    info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED + 8)
    return int(struct.unpack_from("Q", info, _ACKED)[0])


def limit() -> int:
    """Measure, print a table, and return 0."""
    seconds = asyncio.run(_measured(PLAN))
    print(table(seconds))
    return 0


def table(seconds: Sequence[Second]) -> str:
    """A line for each second, and one for each limit."""
    lines = ["limit        second      Mbit/s   of the limit   connections"]
    steps = dict.fromkeys((second.step, second.limit) for second in seconds)
    for step, rate in steps:
        mine = [second for second in seconds if second.step == step]
        lines += [
            f"{rate * 8 / 1e6:7.3f} Mbit {number:6d} {second.rate * 8 / 1e6:11.3f} {second.share:13.1%}"
            f" {second.connections:13d}"
            for number, second in enumerate(mine, 1)
        ]
        whole = sum(second.rate for second in mine) / len(mine) / rate
        lines.append(f"{rate * 8 / 1e6:7.3f} Mbit: most {max(s.share for s in mine):.1%}, mean {whole:.1%}")
    return "\n".join(lines)


async def _measured(plan: Sequence[tuple[str, int]]) -> list[Second]:
    with tempfile.TemporaryDirectory() as work:
        async with _running(Path(work), plan[0][0]) as origin:
            found: list[Second] = []
            async with asyncio.timeout(30):
                await origin.began.wait()
            for step, (rate, length) in enumerate(plan):
                if step:
                    _set(Path(work), rate)
                    await asyncio.sleep(1.5)  # it looks once a second
                found += [await _second(origin, step, parse_rate(rate)) for _ in range(length)]
            return found


async def _second(origin: _Origin, step: int, rate: int) -> Second:
    then, before = time.monotonic(), origin.acknowledged
    await asyncio.sleep(1.0)
    came = origin.acknowledged - before
    return Second(step, rate, came / (time.monotonic() - then), origin.connections)


def _set(work: Path, rate: str) -> None:
    fresh = work / "limits" / "fresh"
    fresh.write_text(json.dumps({"bandwidth": rate}))
    fresh.rename(work / "limits" / LIMITS_FILE)


@asynccontextmanager
async def _running(work: Path, rate: str) -> AsyncIterator[_Origin]:
    """The origin, and a download from it that begins with the limit `rate`."""
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
