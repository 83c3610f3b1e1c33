"""``modelferry pull``: the real command against real TLS servers on loopback."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelferry.cli import verify
from modelferry.engine.checkpoint.ready import Ready
from modelferry.engine.fetcher import Settings
from modelferry.engine.repair import Repaired, repair
from modelferry.engine.transport.dialer import Dialer
from modelferry.engine.verify import Report
from modelferry.manifest import CHUNK_SIZE, Manifest
from origin.certs import Authority
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for the command's children in /proc"),
]

MODELFERRY = str(Path(sys.executable).with_name("modelferry"))
CONTENTS = {
    "asset/model.safetensors": random.Random(1).randbytes(3 * CHUNK_SIZE + 12345),
    "config/path.yaml": b"gpt: asset/gpt.safetensors\n",
    "empty": b"",
}
SIZE = sum(map(len, CONTENTS.values()))
CONNECTIONS = 2

#: Holds back a chunk that is asked for when others are on the disk (the smallest is asked for first): time to
#: interrupt in the middle.
HELD_BACK = Rule(path="asset/*", covers=2 * CHUNK_SIZE, delay=5)


@dataclass(frozen=True)
class Ended:
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for line in self.out.splitlines() if (event := json.loads(line))["event"] == kind]


@dataclass
class World:
    """An origin with a certificate, an artifact, a target, and a temporary directory that must be empty afterwards."""

    directory: Path
    authority: Authority
    origin: HostileOrigin

    @property
    def target(self) -> Path:
        return self.directory / "target"

    @property
    def temporary(self) -> Path:
        return self.directory / "tmp"

    def write(self, change: Callable[[list[dict[str, Any]]], object] = lambda files: None, **transfer: Any) -> Path:
        """Write the artifact; `change` gets its list of files first."""
        files: list[dict[str, Any]] = [
            {"path": path, "url": self.origin.url(path), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in CONTENTS.items()
        ]
        change(files)
        artifact = {
            "apiVersion": "modelferry.dev/v1alpha1",
            "kind": "ModelArtifact",
            "metadata": {"name": "chattts"},
            "spec": {"source": {"http": {"files": files}}, "transfer": {"connections": CONNECTIONS} | transfer},
        }
        path = self.directory / "model.yaml"
        path.write_text(yaml.safe_dump(artifact))
        return path

    @asynccontextmanager
    async def started(
        self,
        *options: str,
        trust: bool = True,
        environment: dict[str, str] | None = None,
        terminal: int = asyncio.subprocess.PIPE,
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The command, running in a process group of its own, as a shell would start it."""
        trusted = ["--ca-file", str(self.authority.ca_file)] if trust else []
        artifact = self.directory / "model.yaml"
        process = await asyncio.create_subprocess_exec(
            *(MODELFERRY, "pull", str(artifact), "--to", str(self.target), *trusted, *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=terminal,
            env=os.environ | {"TMPDIR": str(self.temporary), "TERM": "xterm-256color"} | (environment or {}),
            start_new_session=True,
            limit=1 << 20,
            cwd=self.directory,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def pull(self, *options: str, trust: bool = True, environment: dict[str, str] | None = None) -> Ended:
        """Run the command to its end."""
        async with self.started(*options, trust=trust, environment=environment) as process:
            return await ended(process)

    def current(self) -> dict[str, bytes]:
        """The published files, by path."""
        current = self.target / "current"
        paths = [path for path in current.rglob("*") if path.is_file() and not path.name.startswith(".modelferry")]
        return {str(path.relative_to(current)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CONTENTS as files: the origin takes their ETags from the file system, not from 48 MiB at each request."""
    root = tmp_path_factory.mktemp("model")
    for path, content in CONTENTS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture
async def world(tmp_path: Path, model: Path) -> AsyncIterator[World]:
    (tmp_path / "tmp").mkdir()
    # The command is run in this directory: what lies around there must not be taken for one of Python's modules.
    (tmp_path / "ssl.py").write_text("raise SystemExit('the ssl.py of the current directory was imported')\n")
    authority = Authority(tmp_path)
    async with HostileOrigin(root=model, tls=authority.leaf("127.0.0.1").context()) as origin:
        world = World(tmp_path, authority, origin)
        world.write()
        yield world
    assert list(world.temporary.iterdir()) == [], "the command left something in the temporary directory"


async def ended(process: asyncio.subprocess.Process) -> Ended:
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def until_some_is_verified(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Read progress events up to the first with a chunk on the disk."""
    assert process.stdout is not None
    async for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "progress" and event["done"] >= CHUNK_SIZE:
            return event
    raise AssertionError("it ended without a chunk on the disk")


def children(parent: int) -> dict[str, int]:
    """The agents that run below process `parent`: their role and process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text().rpartition(") ")[2].split()
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(status[1]) == parent and status[0] != "Z" and "agent" in words:
            found[words[words.index("agent") + 1]] = int(entry.name)
    return found


async def gone(pids: Mapping[str, int]) -> None:
    """Return when none of the processes runs any more."""
    for pid in pids.values():
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        over = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, over.set)
        await asyncio.wait_for(over.wait(), 20)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def test_the_model_stands_whole_in_current(world: World) -> None:
    done = await world.pull()
    assert done.code == 0
    assert world.current() == CONTENTS
    assert "3 files, 48.0 MiB, whole and verified in" in done.out
    assert done.err.endswith(f": 3 files, 48.0 MiB, to {world.target}\n")
    marker = Ready.decode((world.target / "current" / ".modelferry-ready.json").read_bytes())
    assert {file.path: file.size for file in marker.files} == {path: len(data) for path, data in CONTENTS.items()}
    assert all(file.checksum == "verified" for file in marker.files)


async def test_a_second_pull_fetches_nothing(world: World) -> None:
    await world.pull()
    before = world.origin.sent()
    done = await world.pull()
    assert done.code == 0
    assert f"stands in {world.target}/current already" in done.out
    assert world.origin.sent() - before <= len(CONTENTS), "more than the first byte of each file"


async def test_json_tells_the_progress_and_at_last_the_result(world: World) -> None:
    world.origin.rate = 16e6
    done = await world.pull("--json")
    result, *others = done.events("result")
    progress = done.events("progress")
    assert (done.code, done.err, others) == (0, "", [])
    assert json.loads(done.out.splitlines()[-1]) == result
    assert [event["done"] for event in progress] == sorted(event["done"] for event in progress)
    assert progress[-1]["phase"] == "published"
    assert (result["name"], result["files"], result["bytes"], result["fetched"]) == ("chattts", 3, SIZE, SIZE)
    assert result["revision"] == progress[-1]["revision"]
    assert result["digest"].startswith("sha256:")
    assert Path(result["directory"]) == world.target / "current"
    assert result["speed"] == pytest.approx(SIZE / result["seconds"], rel=0.01)
    assert all(10 << 20 < peak < 100 << 20 for peak in result["peakMemory"].values()), result["peakMemory"]
    assert set(result["peakMemory"]) == {"fetch", "checkpoint"}


async def test_without_a_terminal_plain_lines_tell_the_progress(world: World) -> None:
    world.origin.rate = 4e6
    done = await world.pull()
    assert done.code == 0
    assert all(line.startswith("modelferry: ") for line in done.err.splitlines())
    assert " of 48.0 MiB, " in done.err


async def test_quiet_says_nothing_at_all(world: World) -> None:
    world.origin.rate = 16e6
    assert await world.pull("--quiet") == Ended(0, "", "")


async def test_a_wrong_digest_is_told_with_both_and_nothing_is_published(world: World) -> None:
    wrong = "0" * 64
    world.write(lambda files: files[0].update(sha256=wrong))
    done = await world.pull("--json")
    assert done.code == 3
    assert done.err.startswith("modelferry: DigestMismatch: asset/model.safetensors")
    assert wrong in done.err
    assert hashlib.sha256(CONTENTS["asset/model.safetensors"]).hexdigest() in done.err
    assert not (world.target / "current").exists()
    [event] = done.events("error")
    assert (event["reason"], event["exitCode"], event["file"]) == ("DigestMismatch", 3, "asset/model.safetensors")


async def test_a_wrong_yaml_is_the_users_fault_and_every_field_is_named(world: World) -> None:
    world.write(
        lambda files: (files[0].update(path="../x"), files[1].update(size=-1), files[2].update(sha256="abc")),
        surprise=1,
    )
    done = await world.pull()
    assert (done.code, done.out) == (2, "")
    for field in ("files[0].path", "files[1].size", "files[2].sha256", "spec.transfer.surprise"):
        assert field in done.err
    assert len(done.err.splitlines()) == 1
    assert world.origin.accepted == 0


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda files: files[0].update(url=files[0]["url"] + "x?sig=hunter2"), 3, "NotFound: asset/model.safetensors"),
        (lambda files: files[0].update(url="https://models.invalid/a?sig=hunter2"), 3, "UnknownHost: asset/model"),
        (lambda files: files[0].update(url="http://127.0.0.1:1/a?sig=hunter2"), 2, "PlainHTTPRefused: asset/model"),
        (lambda files: files[0].update(size=1), 3, "SizeMismatch: asset/model.safetensors"),
    ],
    ids=["404", "unknown host", "plain http", "size"],
)
async def test_a_source_that_cannot_be_had_is_told_before_anything_is_fetched(
    world: World, change: Callable[[list[dict[str, Any]]], object], code: int, said: str
) -> None:
    world.write(change)
    done = await world.pull()
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"modelferry: {said}")
    assert "hunter2" not in done.err
    assert "Traceback" not in done.err
    assert world.origin.sent() <= 30


def with_mirror(file: Path, url: str, **fields: str) -> None:
    """Give the artifact in `file` a mirror."""
    artifact = yaml.safe_load(file.read_text())
    artifact["spec"]["mirrors"] = [{"name": "near", "url": url} | fields]
    file.write_text(yaml.safe_dump(artifact))


async def test_a_source_that_is_gone_is_not_missed_where_a_mirror_has_what_is_declared(world: World) -> None:
    whole = (await world.pull("--json")).events("result")[0]["revision"]
    shutil.rmtree(world.target)
    file = world.write(
        lambda files: [
            file.update(url="https://gone.invalid/" + file["path"], size=len(CONTENTS[file["path"]])) for file in files
        ]
    )
    with_mirror(file, world.origin.url("{path}"))
    done = await world.pull("--json")
    assert done.code == 0, done.err
    assert done.events("result")[0]["revision"] == whole
    assert world.current() == CONTENTS


async def test_a_wrong_size_is_told_where_the_source_was_not_asked_for_it(world: World) -> None:
    file = world.write(
        lambda files: [file.update(size=len(CONTENTS[file["path"]]) + (file is files[0])) for file in files]
    )
    with_mirror(file, world.origin.url("{path}"))
    done = await world.pull()
    assert done.code == 3
    assert done.err.splitlines()[-1].startswith("modelferry: SizeMismatch: asset/model.safetensors"), done.err


async def test_plain_http_is_fetched_where_it_is_allowed(world: World, model: Path) -> None:
    async with HostileOrigin(root=model) as plain:
        world.write(
            lambda files: [file.update(url=plain.url(file["path"])) for file in files], tls={"allowPlainHTTP": True}
        )
        assert (await world.pull()).code == 0
    assert world.current() == CONTENTS


async def test_a_certificate_of_an_unknown_authority_is_refused_with_the_way_out(world: World) -> None:
    done = await world.pull(trust=False)
    assert done.code == 3
    assert done.err.startswith("modelferry: UnknownAuthority: ")
    assert "add the authority to the trusted CA bundle" in done.err


async def test_ssl_cert_file_is_honoured_by_every_process(world: World) -> None:
    done = await world.pull(trust=False, environment={"SSL_CERT_FILE": str(world.authority.ca_file)})
    assert done.code == 0
    assert world.current() == CONTENTS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--connections", "0"], "--connections: must be 1 to 128, not 0"),
        (["--connections", "129"], "--connections: must be 1 to 128, not 129"),
        (["--ca-file", "/nowhere.pem"], "CA bundle /nowhere.pem: "),
    ],
)
async def test_a_wrong_option_is_the_users_fault(world: World, options: list[str], said: str) -> None:
    done = await world.pull(*options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


async def test_more_connections_than_the_spec_says_can_be_asked_for(world: World) -> None:
    world.origin.rate = 8e6
    assert (await world.pull("--connections", "4")).code == 0
    assert world.origin.accepted > CONNECTIONS + 1 + len(CONTENTS)


@pytest.mark.parametrize("kind", ["file", "foreign"])
async def test_a_target_that_is_somebody_elses_is_left_alone(world: World, kind: str) -> None:
    if kind == "file":
        world.target.write_text("precious")
    else:
        world.target.mkdir()
        (world.target / "precious").write_text("precious")
    done = await world.pull()
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("modelferry: ForeignDirectory: ")
    left = world.target if kind == "file" else world.target / "precious"
    assert left.read_text() == "precious"


async def test_one_directory_has_one_pull_at_a_time(world: World) -> None:
    world.origin.script.add(HELD_BACK)
    async with world.started("--json") as first:
        await until_some_is_verified(first)
        second = await world.pull()
        assert second.code == 4
        assert second.err.splitlines()[-1].startswith("modelferry: DirectoryBusy: ")
        assert f"process {children(first.pid)['checkpoint']} is working in it" in second.err
        world.origin.script.clear()
        assert (await ended(first)).code == 0


@pytest.mark.parametrize("damage", ["garbage", "another version", "cut"])
async def test_a_database_that_cannot_be_used_is_set_aside_and_what_verifies_is_kept(world: World, damage: str) -> None:
    await world.pull("--quiet")
    database = world.target / ".modelferry" / "chunks.db"
    if damage == "another version":
        with closing(sqlite3.connect(database)) as db, db:
            db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    else:
        database.write_bytes(b"not a database" * 1000 if damage == "garbage" else database.read_bytes()[:5000])
    world.origin.entries.clear()
    done = await world.pull()
    assert done.code == 0
    assert "it was set aside as chunks.db.damaged-1" in done.err + done.out
    assert database.with_name("chunks.db.damaged-1").exists()
    assert world.origin.sent() <= len(CONTENTS), "more than the first byte of each file"
    assert world.current() == CONTENTS


async def test_ctrl_c_at_a_terminal_leaves_a_line_and_a_clean_screen(world: World) -> None:
    world.origin.script.add(HELD_BACK)
    ours, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    async with world.started(terminal=terminal) as process:
        os.close(terminal)
        reading = asyncio.create_task(asyncio.to_thread(read_to_the_end, ours))
        async with asyncio.timeout(30):
            while not any(entry.sent > 1 for entry in world.origin.entries):  # noqa: ASYNC110 -- no event for it
                await asyncio.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        agents = children(process.pid)
        await process.communicate()
        drawn = await reading
    await gone(agents)
    assert process.returncode == 130
    last = drawn.rstrip().rpartition("modelferry: interrupted")[2]
    assert "the same command resumes" in last
    assert "Traceback" not in drawn
    # The cursor is shown again, and stands in a line of its own.
    assert drawn.rfind("\x1b[?25h") >= drawn.rfind("\x1b[?25l")
    assert drawn.endswith("\n")


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
async def test_an_interrupted_pull_says_where_it_stands_and_the_next_one_resumes(world: World, how: str) -> None:
    world.origin.script.add(HELD_BACK)
    async with world.started("--json") as process:
        await until_some_is_verified(process)
        agents = children(process.pid)
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        else:
            process.send_signal(signal.SIGTERM)
        first = await ended(process)
    assert set(agents) == {"fetch", "checkpoint"}
    await gone(agents)
    assert first.code == 130
    assert "MiB of 48.0 MiB are verified on the disk; the same command resumes" in first.err
    assert not (world.target / "current").exists()

    world.origin.script.clear()
    second = await world.pull("--json")
    assert second.code == 0
    assert second.events("result")[0]["fetched"] <= SIZE - CHUNK_SIZE, "a verified chunk was fetched again"
    assert world.current() == CONTENTS


async def test_a_second_signal_ends_an_agent_that_does_not_end_by_itself(world: World) -> None:
    world.origin.script.add(HELD_BACK)
    async with world.started("--json") as process:
        await until_some_is_verified(process)
        agents = children(process.pid)
        os.kill(agents["fetch"], signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):  # the first signal alone would give it 10 s
            done = await ended(process)
    assert done.code == 130
    await gone(agents)


async def test_a_pull_that_was_interrupted_while_it_resolved_says_so(world: World) -> None:
    world.origin.script.add(Rule(delay=60))
    async with world.started() as process:
        async with asyncio.timeout(30):
            while not world.origin.accepted:  # noqa: ASYNC110 -- the origin has no event for it
                await asyncio.sleep(0)
        os.killpg(process.pid, signal.SIGINT)
        done = await ended(process)
    assert (done.code, done.out, done.err) == (130, "", "modelferry: interrupted\n")


@pytest.mark.parametrize("role", ["fetch", "checkpoint"])
async def test_an_agent_that_is_killed_is_started_again_and_goes_on(world: World, role: str) -> None:
    world.origin.script.add(HELD_BACK)
    async with world.started("--json") as process:
        await until_some_is_verified(process)
        os.kill(children(process.pid)[role], signal.SIGKILL)
        world.origin.script.clear()
        done = await ended(process)
    assert (done.code, done.err) == (0, "")
    assert world.current() == CONTENTS
    assert world.origin.sent() <= SIZE + (CONNECTIONS + 1) * CHUNK_SIZE


async def test_an_agent_that_keeps_being_killed_is_given_up_with_the_likely_cause(world: World) -> None:
    world.origin.script.add(Rule(path="asset/*", first=2, delay=60))
    async with world.started() as process:
        killed: set[int] = set()
        while process.returncode is None:
            pid = children(process.pid).get("fetch")
            if pid is not None and pid not in killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
        done = await ended(process)
    assert done.code == 4
    said = "modelferry: Killed: fetch was ended by SIGKILL 4 times without getting further; see whether the machine is"
    assert done.err.splitlines()[-1].startswith(said)
    assert len(killed) == 4


async def test_after_a_killed_pull_no_agent_stays_and_the_next_pull_resumes(world: World) -> None:
    world.origin.script.add(HELD_BACK)
    async with world.started("--json") as process:
        await until_some_is_verified(process)
        agents = children(process.pid)
        process.kill()
        await process.wait()
        await gone(agents)
    world.origin.script.clear()
    done = await world.pull("--json")
    assert done.code == 0
    assert done.events("result")[0]["fetched"] <= SIZE - CHUNK_SIZE
    for left in world.temporary.iterdir():  # nobody could clean up after kill -9
        for path in left.iterdir():
            path.unlink()
        left.rmdir()


async def test_a_bad_chunk_does_not_cost_the_whole_file(world: World) -> None:
    world.origin.script.add(Rule(path="asset/*", covers=CHUNK_SIZE + 7, corrupt=CHUNK_SIZE + 7, times=1, first=1))
    done = await world.pull("--json")
    assert done.code == 0
    assert world.current() == CONTENTS
    assert world.origin.sent() <= SIZE + 2 * CHUNK_SIZE + len(CONTENTS)


@pytest.mark.parametrize("as_json", [False, True])
async def test_on_a_terminal_a_picture_is_drawn_and_wiped(world: World, as_json: bool) -> None:
    world.origin.rate = 16e6
    ours, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [MODELFERRY, "pull", str(world.directory / "model.yaml"), "--to", str(world.target)]
    process = await asyncio.create_subprocess_exec(
        *(*command, "--ca-file", str(world.authority.ca_file), *(["--json"] if as_json else [])),
        stdin=terminal,
        stdout=asyncio.subprocess.PIPE if as_json else terminal,
        stderr=terminal,
        env=os.environ | {"TMPDIR": str(world.temporary), "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(terminal)
    (out, _), drawn = await asyncio.gather(process.communicate(), asyncio.to_thread(read_to_the_end, ours))
    assert process.returncode == 0
    assert "asset/model.safetensors" in drawn
    assert " of 3 files" in drawn
    assert "━" in drawn
    assert drawn.index("\x1b[?25l") < drawn.rindex("\x1b[?25h"), "the cursor stays hidden"
    last = drawn.rpartition("\x1b[2K")[2]
    assert "━" not in last, "the picture was not wiped"
    if as_json:
        assert json.loads(out.splitlines()[-1])["event"] == "result"
        assert "event" not in drawn
    else:
        assert "3 files, 48.0 MiB, whole and verified in" in last


async def test_with_map_the_picture_shows_every_chunk(world: World) -> None:
    world.origin.rate = 16e6
    world.origin.script.add(Rule(path="asset/*", covers=3 * CHUNK_SIZE, delay=1.5))
    ours, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    async with world.started("--map", terminal=terminal) as process:
        os.close(terminal)
        _, drawn = await asyncio.gather(process.communicate(), asyncio.to_thread(read_to_the_end, ours))
    assert process.returncode == 0
    assert "(one chunk each)" in drawn
    assert "█" in drawn
    assert "·" in drawn
    assert "asset/model.safetensors" in drawn


async def test_without_a_terminal_map_is_passed_over_with_a_word(world: World) -> None:
    done = await world.pull("--map")
    assert done.code == 0
    assert "modelferry: --map is for a terminal; there is none to draw on\n" in done.err


def read_to_the_end(terminal: int) -> str:
    """What is written to a pseudo-terminal until nobody has it open any more."""
    seen = b""
    with suppress(OSError):  # EIO is its end
        while piece := os.read(terminal, 65536):
            seen += piece
    os.close(terminal)
    return seen.decode()


#: Beside the directory; the authority's certificate is made by the fixture.
REPAIR = ("--repair", "model.yaml", "--ca-file", "origin-ca.pem")


async def verified(world: World, *options: str) -> Ended:
    """Run ``modelferry verify``."""
    process = await asyncio.create_subprocess_exec(
        *(MODELFERRY, "verify", str(world.target), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=world.directory,
    )
    return await ended(process)


async def test_a_pulled_model_can_be_verified_again(world: World) -> None:
    done = await world.pull("--json")
    revision = done.events("result")[0]["revision"]
    assert await verified(world) == Ended(0, f"modelferry: {revision}: 3 files, 48.0 MiB, all whole\n", "")
    [result] = (await verified(world, "--json")).events("result")
    assert (result["ok"], result["revision"], result["bytes"]) == (True, revision, SIZE)
    assert [(file["path"], file["state"]) for file in result["files"]] == [(path, "ok") for path in sorted(CONTENTS)]


async def test_damage_is_named_with_its_place_and_repaired_alone(world: World) -> None:
    await world.pull("--quiet")
    damaged = world.target / "current" / "asset" / "model.safetensors"
    damaged.chmod(0o644)
    with damaged.open("r+b") as file:
        file.seek(CHUNK_SIZE + 5)
        file.write(b"damaged")
    done = await verified(world)
    assert (done.code, done.out) == (4, "")
    said = "1 of 3 files are not what was verified: asset/model.safetensors is damaged in 1 chunk of 16 MiB (number 1)"
    assert said in done.err
    assert "with --repair FILE.yaml" in done.err
    [result] = (await verified(world, "--json")).events("result")
    assert [file["bad_chunks"] for file in result["files"]] == [[1], [], []]

    world.origin.entries.clear()
    done = await verified(world, *REPAIR, "--json")
    [result] = done.events("result")
    assert (done.code, done.err, result["ok"]) == (0, "", True)
    assert result["repaired"] == {"files": ["asset/model.safetensors"], "fetched": CHUNK_SIZE, "retries": 0}
    # That chunk alone, in one part or several, no byte twice.
    parts = sorted(entry.span for entry in world.origin.entries if entry.sent > 1 and entry.span)
    assert [parts[0][0], *(end for _, end in parts)] == [*(start for start, _ in parts), 2 * CHUNK_SIZE]
    assert parts[0][0] == CHUNK_SIZE
    assert (await verified(world)).code == 0
    assert world.current() == CONTENTS


async def test_a_whole_model_is_not_repaired_and_its_source_not_asked(world: World) -> None:
    await world.pull("--quiet")
    world.origin.entries.clear()
    done = await verified(world, *REPAIR)
    assert (done.code, done.err) == (0, "")
    assert "3 files, 48.0 MiB, all whole" in done.out
    assert not world.origin.entries


async def test_damage_that_cannot_be_repaired_is_told_with_the_reason_and_stays_as_it_was(world: World) -> None:
    await world.pull("--quiet")
    (world.target / "current" / "config" / "path.yaml").write_bytes(b"x")
    world.origin.script.add(Rule(status=404))
    done = await verified(world, *REPAIR, "--json")
    assert done.code == 3
    assert done.err.startswith("modelferry: NotFound: ")
    [result] = done.events("result")
    assert [file["state"] for file in result["files"]] == ["ok", "resized", "ok"]
    assert (world.target / "current" / "config" / "path.yaml").read_bytes() == b"x"

    world.origin.script.clear()
    done = await verified(world, *REPAIR)
    assert done.code == 0
    assert "1 file repaired, fetched 27 bytes: config/path.yaml is resized; now all 48.0 MiB are whole" in done.out
    assert world.current() == CONTENTS


async def test_a_repair_asks_the_mirrors_and_keeps_to_the_limits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int | None, int | None, tuple[str, ...], float]] = []

    async def watched(
        directory: Path, report: Report, source: Manifest, dialer: Dialer, settings: Settings
    ) -> Repaired:
        standings = tuple(mirror.name for mirror in settings.mirrors)
        limits = dialer.throttle.limit, dialer.throttle.of("near").limit
        seen.append((*limits, standings, settings.patience))
        return await repair(directory, report, source, dialer, settings)

    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    monkeypatch.setattr("modelferry.cli.verify.repair", watched)
    await world.pull("--quiet")
    (world.target / "current" / "config" / "path.yaml").write_bytes(b"x")
    leaf = world.authority.leaf("127.0.0.1").context()
    async with HostileOrigin(CONTENTS, tls=leaf) as near:
        file = world.write(bandwidth="8Mbit", deadline="77s")
        with_mirror(file, near.url("{path}"), bandwidth="1MB")
        words = [str(world.target), "--repair", str(file), "--ca-file", str(world.authority.ca_file)]
        for more in ([], ["--bandwidth", "2MB"]):
            assert await asyncio.to_thread(verify.main, parser.parse_args([*words, *more])) == 0
            assert [entry.path for entry in near.entries if entry.sent > 1] == ["/config/path.yaml"]
            assert world.current() == CONTENTS
            near.entries.clear()
            (world.target / "current" / "config" / "path.yaml").write_bytes(b"x")
    told = ("near", "source"), 77.0
    assert seen == [(1_000_000, 1_000_000, *told), (2_000_000, 1_000_000, *told)]


async def test_a_directory_without_a_model_cannot_be_verified(world: World) -> None:
    world.target.mkdir()
    done = await verified(world)
    assert done.code == 2
    assert done.err.startswith("modelferry: NotPublished: ")
