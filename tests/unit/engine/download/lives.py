"""Downloads in lives: processes that begin one after the other on one directory, each with a network and a disk of its
own kind, and the rule that holds after each."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import looptime
import pytest
from blake3 import blake3

from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.engine.download.coordinator import DownloadCoordinator, Settings
from modelferry.errors import ModelferryError
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed
from origin.rules import Rule
from unit.engine.download.scripted_network import ScriptedNetwork
from unit.storage.faulty_disk import Fault, FaultyDisk, Killed

CHUNK = 8192
CONTENTS = {"a": Random(3).randbytes(3 * CHUNK + 100), "b": b"hello"}


def manifest(algorithm: str | None = "sha256") -> Manifest:
    """Of two files, one in a directory of its own."""
    return content_addressed(
        tuple(
            FileEntry(
                f"{name}/file",
                len(content),
                Digest(algorithm, hashlib.new(algorithm, content).hexdigest()) if algorithm else None,
                (Location(f"http://origin/{name}", "m0"),),
            )
            for name, content in CONTENTS.items()
        )
    )


@dataclass(frozen=True)
class Life:
    """One process: ``script`` is what the network does to which request, ``faults`` what the disk does to which call.

    ``again``: where the fetching side ends with an error, it is started once more beside the same checkpoint, as in a
    pod. ``reboots``: the machine was started anew before it; ``power``: it ends with the power, the seed says what
    chance leaves.
    """

    script: Mapping[int, Rule] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    reboots: bool = False
    power: int | None = None
    digest: bool = False
    connections: int = 2
    again: bool = False


@dataclass
class Story:
    """A directory and its lives."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch
    algorithm: str | None = "sha256"
    edge: FaultyDisk = field(default_factory=FaultyDisk)
    boots: int = 1
    #: Of the last life: on its clock, and to the network.
    seconds: float = 0.0
    requests: int = 0
    #: Something other than Modelferry and the disk's faults has changed a byte.
    damaged: bool = False

    def live(self, life: Life) -> str:
        """Run one process to its end: "whole", "killed", or the reason of its error. Then the rule holds."""
        self.edge = self.edge.next_process(*life.faults)
        self.boots += life.reboots
        loop = looptime.new_event_loop(idle_timeout=None)
        loop.run_in_executor = _at_once(loop)  # type: ignore[method-assign]
        loop.set_exception_handler(lambda _loop, _context: None)  # the dead have much to complain about
        try:
            with self.edge.installed(self.monkeypatch):
                how = loop.run_until_complete(self._download(life, loop))
                self.seconds = loop.time()
                _end(loop)
        finally:
            loop.close()
        if life.power is not None:
            self.edge.lose_power(self.directory, Random(life.power))
            self.boots += 1
        self.check()
        return how

    async def _download(self, life: Life, loop: asyncio.AbstractEventLoop) -> str:
        checkpoint = LocalCheckpoint(self.directory, boot_id=f"boot-{self.boots}", monotonic=loop.time)
        try:
            how = await self._fetch(life, checkpoint, loop)
            return await self._fetch(life, checkpoint, loop) if life.again and how != "whole" else how
        except (Killed, asyncio.CancelledError):
            assert self.edge.dead
            return "killed"
        finally:
            with suppress(Killed):
                await checkpoint.close()

    async def _fetch(self, life: Life, checkpoint: LocalCheckpoint, loop: asyncio.AbstractEventLoop) -> str:
        network = ScriptedNetwork(CONTENTS, life.script, digest=life.digest)
        settings = Settings(life.connections, allow_plain_http=True, progress_deadline=60.0)
        fetcher = DownloadCoordinator(
            manifest(self.algorithm), checkpoint, network, settings, clock=loop.time, jitter=lambda: 0.0
        )
        try:
            await fetcher.run()
        except ModelferryError as error:
            return error.reason if error.message else "nothing was said"
        finally:
            self.requests = len(network.asked)
        return "whole"

    def damage(self, path: str) -> None:
        """A byte of a published file is not what it was."""
        file = self.directory / "current" / path
        data = bytearray(file.read_bytes())
        data[0] ^= 1
        file.write_bytes(data)
        self.edge.durable[file.stat().st_ino] = bytes(data)
        self.damaged = True

    def check(self) -> None:
        """The rule: each chunk that is marked done is on the disk, with those bytes, whatever becomes of the power;
        and what consumers see is right."""
        if self.damaged and not self.whole:
            return  # until it is found
        self.damaged = False
        for name, content in CONTENTS.items():
            seen = self.directory / "current" / name / "file"
            assert not seen.exists() or seen.read_bytes() == content
        for revision, path, start, end, digest in self.done():
            locations = (self.directory / f".modelferry/incoming/{revision}", self.directory / f"revisions/{revision}")
            file = next((location / path for location in locations if (location / path).exists()), None)
            assert file is not None, f"{path} is done and not there"
            kept = self.edge.durable_content(self.directory, file)
            assert kept is not None, f"{path} is done, and its name may be lost"
            assert blake3(kept[start:end]).digest() == digest, f"{path}: {start}-{end} is done and may be lost"

    def done(self) -> list[tuple[str, str, int, int, bytes]]:
        """What chunks.db says is done: revision, path, start, end, BLAKE3."""
        database = self.directory / ".modelferry" / "chunks.db"
        if not database.exists():
            return []
        with closing(sqlite3.connect(database)) as db, suppress(sqlite3.OperationalError):
            return list(
                db.execute(
                    'SELECT revision, path, start, "end", chunks.digest FROM chunks JOIN files ON file = id'
                    " WHERE status = 'done'"
                )
            )
        return []

    @property
    def whole(self) -> bool:
        """Is all of it published, as it shall be?"""
        files = {self.directory / "current" / name / "file": content for name, content in CONTENTS.items()}
        return all(path.exists() and path.read_bytes() == content for path, content in files.items())


def _at_once(loop: asyncio.AbstractEventLoop) -> Any:
    """Work for a thread is done here and now, and its result is there in the next turn."""

    def run(_: Executor | None, work: Any, *arguments: Any) -> asyncio.Future[Any]:
        future = loop.create_future()
        try:
            result = work(*arguments)
        except BaseException as error:
            loop.call_soon(_settle, future, error, None)
        else:
            loop.call_soon(_settle, future, None, result)
        return future

    return run


def _settle(future: asyncio.Future[Any], error: BaseException | None, result: Any) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    async def over() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop.run_until_complete(over())
