"""``modelferry pull FILE.yaml --to DIR``: what the cluster does for a ModelArtifact, on this machine.

The source is resolved in this process. The bytes are fetched by the two agents of a download pod, as child processes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelferry.agent import bandwidth_limiter, source_route
from modelferry.agent.resolve import resolve_manifest
from modelferry.cli.display import counted, duration
from modelferry.cli.main import INTERRUPTED
from modelferry.cli.reporters import choose, print_event
from modelferry.cli.runtime_directory import run_directory
from modelferry.cli.status_client import ask, ask_chunks
from modelferry.cli.supervisor import CHECKPOINT, FETCH, Interrupted, Supervisor
from modelferry.errors import ForeignDirectory, InvalidSpec, MachineError, ModelferryError, SourceError, UserError
from modelferry.manifest import Manifest, encode
from modelferry.messages import Outcome
from modelferry.resource.parse import load_artifact
from modelferry.resource.transfer import MAX_CONNECTIONS
from modelferry.values.quantities import size_text

#: Progress is asked for 4 times a second: smooth to the eye, and nothing beside the download itself.
_INTERVAL = 0.25
_FAULTS: dict[int, type[ModelferryError]] = {2: UserError, 3: SourceError, 4: MachineError}


@dataclass(frozen=True, slots=True)
class Result:
    """A model that is whole and verified in ``directory``. ``fetched`` bytes came over the network in this run, which
    took ``seconds``; ``peak_fetch`` and ``peak_checkpoint`` are the agents' peak memory in bytes."""

    name: str
    revision: str
    digest: str
    directory: Path
    files: int
    bytes: int
    fetched: int
    retries: int
    seconds: float
    peak_fetch: int
    peak_checkpoint: int
    #: What a person should know: something damaged was set aside, or was lost and fetched again.
    notes: str = ""

    @property
    def speed(self) -> float:
        """Bytes per second over the whole run, with resolving, verifying and publishing."""
        return self.fetched / self.seconds

    def as_json(self) -> dict[str, Any]:
        """The fields of the event ``result``."""
        return {
            "name": self.name,
            "revision": self.revision,
            "digest": self.digest,
            "directory": str(self.directory),
            "files": self.files,
            "bytes": self.bytes,
            "fetched": self.fetched,
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            "speed": round(self.speed),
            "notes": self.notes,
            "peakMemory": {"fetch": self.peak_fetch, "checkpoint": self.peak_checkpoint},
        }

    def __str__(self) -> str:
        what = f"{self.name} {self.revision}: {counted(self.files, 'file')}, {size_text(self.bytes)}"
        if not self.fetched:
            return f"{what}, stands in {self.directory} already; `modelferry verify` reads every byte again"
        speed = f"{size_text(self.fetched)} in {duration(self.seconds)}, {size_text(round(self.speed))}/s"
        return f"{what}, whole and verified in {self.directory} (fetched {speed})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("artifact", type=Path, metavar="FILE.yaml", help="a ModelArtifact, as kubectl apply takes it")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the model will stand in DIR/current")
    parser.add_argument("--connections", type=int, metavar="N", help="streams at a time (instead of spec.transfer's)")
    bandwidth_limiter.add_bandwidth_argument(parser)
    source_route.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON lines: progress, and at last the result")
    parser.add_argument("--map", action="store_true", help="on a terminal, show how each chunk stands")
    parser.add_argument("--quiet", action="store_true", help="print errors alone")


def main(args: argparse.Namespace) -> int:
    """Run; returns 0 or 130, or raises ModelferryError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.quiet:
        logging.getLogger("modelferry").setLevel(logging.ERROR)
    try:
        result = _pull(args)
    except Interrupted as interrupted:
        print(f"modelferry: interrupted{_where(interrupted)}; the same command resumes", file=sys.stderr)
        return INTERRUPTED
    except ModelferryError as error:
        if args.json:
            fields = {"reason": error.reason, "message": error.message, "file": error.file, "exitCode": error.exit_code}
            print_event("error", fields)
        raise
    if args.json:
        print_event("result", result.as_json())
    elif not args.quiet:
        if result.notes:
            print(f"modelferry: {result.notes}", file=sys.stderr)
        print(f"modelferry: {result}")
    return 0


def _pull(args: argparse.Namespace) -> Result:
    start = time.monotonic()
    artifact = load_artifact(args.artifact)
    if args.connections is not None and not 1 <= args.connections <= MAX_CONNECTIONS:
        raise InvalidSpec(f"--connections: must be 1 to {MAX_CONNECTIONS}, not {args.connections}")
    spec = artifact.spec
    bandwidth_limiter.configured_limits(args.bandwidth, spec)
    target = _directory(args.to)
    routes = source_route.routes_from_arguments(spec, args)
    manifest = asyncio.run(resolve_manifest(spec, routes))
    with run_directory() as run:
        (run / "manifest").write_bytes(encode(manifest))
        crew = Supervisor(_commands(args, run, target), run)
        chunks = (lambda: ask_chunks(run / "status.sock")) if args.map else None
        with closing(choose(as_json=args.json, quiet=args.quiet, chunks=chunks)) as reporter:
            reporter.begin(_plan(artifact.name, manifest, target))
            code = crew.work(lambda: ask(run / "status.sock"), reporter.show, _INTERVAL)
        outcome = _outcome(run / "outcome")
        if code != 0 or outcome is None:
            raise _failure(code, outcome, crew)
    return Result(
        name=artifact.name,
        revision=manifest.revision,
        digest=manifest.digest,
        directory=target / "current",
        files=len(manifest.files),
        bytes=manifest.size,
        fetched=outcome.fetched,
        retries=outcome.retries,
        seconds=time.monotonic() - start,
        peak_fetch=crew.peak(FETCH),
        peak_checkpoint=crew.peak(CHECKPOINT),
        notes=outcome.message,
    )


def _plan(name: str, manifest: Manifest, target: Path) -> str:
    files, size = counted(len(manifest.files), "file"), size_text(manifest.size)
    return f"{name} {manifest.revision}: {files}, {size}, to {target}"


def _commands(args: argparse.Namespace, run: Path, target: Path) -> dict[str, list[str]]:
    shared = ["--manifest", run / "manifest", "--socket", run / "checkpoint.sock"]
    checkpoint = ["agent", "checkpoint", "--data", target, "--status-socket", run / "status.sock", *shared]
    fetch = ["agent", "fetch", "--artifact", args.artifact, "--outcome", run / "outcome", *shared]
    fetch += source_route.to_command_line(args)
    fetch += ["--connections", args.connections] if args.connections else []
    fetch += ["--bandwidth", args.bandwidth] if args.bandwidth else []
    return {CHECKPOINT: [str(word) for word in checkpoint], FETCH: [str(word) for word in fetch]}


def _directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        return path.resolve()
    except FileExistsError as error:
        raise ForeignDirectory(f"{path} is a file; give a directory") from error
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}; give a directory that you may write to") from error


def _outcome(path: Path) -> Outcome | None:
    try:
        return Outcome.decode(path.read_text())
    except OSError:
        return None


def _failure(code: int, outcome: Outcome | None, crew: Supervisor) -> ModelferryError:
    if outcome is not None and code in _FAULTS:
        return _FAULTS[code](outcome.message, reason=outcome.reason, file=outcome.file or None)
    return ModelferryError(f"fetch ended with exit code {code} and said: {crew.log(FETCH)}", reason="Bug")


def _where(interrupted: Interrupted) -> str:
    progress = interrupted.progress
    if progress is None or not progress.total:
        return ""
    share = progress.done * 100 // progress.total
    return f" at {share}%: {size_text(progress.done)} of {size_text(progress.total)} are verified on the disk"
