"""``modelferry pull WHAT``: download a ModelArtifact, or what a reference stands for, to this machine, without a
cluster.

This process resolves the source. The two agents of a download pod fetch the files, as child processes.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import signal
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelferry.agent import bandwidth_limiter, source_route
from modelferry.agent.resolve import resolve_manifest
from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.cli import requested_artifact
from modelferry.cli.display import elapsed_text
from modelferry.cli.main import INTERRUPTED
from modelferry.cli.reporters import choose_reporter, print_event
from modelferry.cli.requested_artifact import RequestedArtifact
from modelferry.cli.runtime_directory import runtime_directory
from modelferry.cli.status_client import fetch_chunk_map, fetch_progress
from modelferry.cli.supervisor import CHECKPOINT, FETCH, Interrupted, Supervisor
from modelferry.errors import ForeignDirectory, InvalidSpec, MachineError, ModelferryError, SourceError, UserError
from modelferry.manifest import Manifest, encode
from modelferry.messages import Outcome
from modelferry.resource import hub_cache
from modelferry.resource.spec import Spec, hub_cache_of
from modelferry.resource.transfer import MAX_CONNECTIONS
from modelferry.resource.undeclared_digests import completeness, not_verified, remedy
from modelferry.storage import layout
from modelferry.values.quantities import count_text, rate_text, size_text

#: Seconds between two updates of the progress: smooth to the eye, and cheap compared to the download.
_PROGRESS_INTERVAL = 0.25
_EXAMPLES = """\
examples:
  modelferry pull hf://2Noise/ChatTTS
  modelferry pull 'hf://2Noise/ChatTTS@main/asset/*.safetensors' --to /srv/models/chattts
  modelferry pull s3://BUCKET/PREFIX --region eu-west-1 --exclude '*.md'
  modelferry pull oci://registry.example.com/models/chattts:v1
  modelferry pull https://models.example.com/model.safetensors --sha256 DIGEST
  modelferry pull hf://2Noise/ChatTTS --print | kubectl apply -f -
  modelferry pull model.yaml --to /srv/models/chattts
"""
_ERRORS: dict[int, type[ModelferryError]] = {2: UserError, 3: SourceError, 4: MachineError}


@dataclass(frozen=True, slots=True)
class PullResult:
    """A complete model in ``directory``. ``fetched``: bytes received over the network in this run, which took
    ``seconds``. ``peak_fetch`` and ``peak_checkpoint``: the agents' peak memory in bytes. ``undeclared``: paths of the
    files without a declared digest."""

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
    #: For the user: something damaged was set aside, or was lost and fetched again; how to have all files verified.
    notes: str = ""
    undeclared: tuple[str, ...] = ()

    @property
    def speed(self) -> float:
        """Bytes per second over the run, including resolving, verifying and publishing."""
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
            "checksum": "unknown" if self.undeclared else "verified",
            "notes": self.notes,
            "peakMemory": {"fetch": self.peak_fetch, "checkpoint": self.peak_checkpoint},
        }

    def __str__(self) -> str:
        model = f"{self.name} {self.revision}: {count_text(self.files, 'file')}, {size_text(self.bytes)}"
        if not self.fetched:
            known = f", {not_verified(self.undeclared)}" if self.undeclared else ""
            return (
                f"{model}, is already in {self.directory}{known}; run `modelferry verify` to compare every byte again"
            )
        speed = f"{size_text(self.fetched)} in {elapsed_text(self.seconds)}, {rate_text(self.speed)}"
        where = f"{',' if self.undeclared else ''} in {self.directory}"
        return f"{model}, {completeness(self.undeclared)}{where} (fetched {speed})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = "modelferry pull FILE.yaml|hf://ORG/NAME|s3://BUCKET/PREFIX|oci://…|https://… [--to DIR] [options]"
    parser.epilog = f"{_EXAMPLES}\n{parser.epilog}"
    requested_artifact.add_arguments(parser)
    help_ = "the target; the model is in DIR/current (default: a directory with the artifact's name)"
    parser.add_argument("--to", type=Path, metavar="DIR", help=help_)
    parser.add_argument(
        "--connections", type=int, metavar="N", help="concurrent connections (instead of spec.transfer's)"
    )
    bandwidth_limiter.add_bandwidth_argument(parser)
    source_route.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON lines: progress events, then the result")
    parser.add_argument("--map", action="store_true", help="show the state of each chunk (needs a terminal)")
    parser.add_argument("--quiet", action="store_true", help="print only errors")


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns 0 or 130, or raises ModelferryError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.quiet:
        logging.getLogger("modelferry").setLevel(logging.ERROR)
    if args.print:
        print(requested_artifact.printed(requested_artifact.requested(args), args), end="")
        return 0
    try:
        result = _pull(args)
    except Interrupted as interrupted:
        print(f"modelferry: interrupted{_position(interrupted)}; the same command resumes", file=sys.stderr)
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


def _pull(args: argparse.Namespace) -> PullResult:
    requested = requested_artifact.requested(args)
    target = args.to or Path(requested.artifact.name)
    existed = target.exists()
    try:
        return _download(args, requested, target)
    except ModelferryError as error:
        requested_artifact.explain(error, requested)
        if not existed:
            # Nothing is left of a command with a typing error. A directory with files is not removed.
            with suppress(OSError):
                target.rmdir()
        raise


def _download(args: argparse.Namespace, requested: RequestedArtifact, directory: Path) -> PullResult:
    start = time.monotonic()
    artifact = requested.artifact
    if args.connections is not None and not 1 <= args.connections <= MAX_CONNECTIONS:
        raise InvalidSpec(f"--connections: must be 1 to {MAX_CONNECTIONS}, not {args.connections}")
    spec = artifact.spec
    bandwidth_limiter.configured_limits(args.bandwidth, spec)
    target = _target_directory(directory)
    routes = source_route.routes_from_arguments(spec, args)
    manifest = asyncio.run(resolve_manifest(spec, routes))
    with runtime_directory() as run:
        (run / "manifest").write_bytes(encode(manifest))
        supervisor = Supervisor(_commands(args, requested.file(run), run, target, spec), run)
        chunks = (lambda: fetch_chunk_map(run / "status.sock")) if args.map else None
        with closing(choose_reporter(as_json=args.json, quiet=args.quiet, chunks=chunks)) as reporter:
            reporter.begin(_description(artifact.name, manifest, target))
            code = supervisor.run(lambda: fetch_progress(run / "status.sock"), reporter.show, _PROGRESS_INTERVAL)
        outcome = _read_outcome(run / "outcome")
        if code != 0 or outcome is None:
            raise _failure(code, outcome, supervisor)
    undeclared = remedy(spec.source, manifest, _computed(target))
    return PullResult(
        name=artifact.name,
        revision=manifest.revision,
        digest=manifest.digest,
        directory=target / "current",
        files=len(manifest.files),
        bytes=manifest.size,
        fetched=outcome.fetched,
        retries=outcome.retries,
        seconds=time.monotonic() - start,
        peak_fetch=supervisor.peak(FETCH),
        peak_checkpoint=supervisor.peak(CHECKPOINT),
        notes="; ".join(filter(None, [outcome.message, requested_artifact.explained(undeclared, requested)])),
        undeclared=tuple(file.path for file in manifest.undeclared),
    )


def _description(name: str, manifest: Manifest, target: Path) -> str:
    files, size = count_text(len(manifest.files), "file"), size_text(manifest.size)
    return f"{name} {manifest.revision}: {files}, {size}, to {target}"


def _commands(args: argparse.Namespace, artifact: Path, run: Path, target: Path, spec: Spec) -> dict[str, list[str]]:
    shared = ["--manifest", run / "manifest", "--socket", run / "checkpoint.sock"]
    checkpoint = ["agent", "checkpoint", "--data", target, "--status-socket", run / "status.sock", *shared]
    checkpoint += hub_cache.to_command_line(hub_cache_of(spec))
    fetch = ["agent", "fetch", "--artifact", artifact, "--outcome", run / "outcome", *shared]
    fetch += source_route.to_command_line(args)
    fetch += ["--connections", args.connections] if args.connections else []
    fetch += ["--bandwidth", args.bandwidth] if args.bandwidth else []
    return {CHECKPOINT: [str(word) for word in checkpoint], FETCH: [str(word) for word in fetch]}


def _target_directory(path: Path) -> Path:
    """Create the target, and find out before the first request whether it can be used."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        layout.refuse_foreign(path.resolve(), {entry.name for entry in path.iterdir()})
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return path.resolve()
    except FileExistsError as error:
        raise ForeignDirectory(f"{path} is a file; give a directory") from error
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}; give a directory that you may write to") from error


def _computed(target: Path) -> dict[str, str]:
    """The digests of the published files by their paths, as the checkpoint computed them."""
    try:
        marker = ReadyMarker.decode((target / layout.CURRENT / layout.READY_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return {file.path: file.digest for file in marker.files}


def _read_outcome(path: Path) -> Outcome | None:
    try:
        return Outcome.decode(path.read_text())
    except OSError:
        return None


def _failure(code: int, outcome: Outcome | None, supervisor: Supervisor) -> ModelferryError:
    if outcome is not None and code in _ERRORS:
        return _ERRORS[code](outcome.message, reason=outcome.reason, file=outcome.file or None)
    return ModelferryError(f"fetch ended with exit code {code} and printed: {supervisor.log(FETCH)}", reason="Bug")


def _position(interrupted: Interrupted) -> str:
    progress = interrupted.progress
    if progress is None or not progress.total:
        return ""
    share = progress.done * 100 // progress.total
    return f" at {share}%: {size_text(progress.done)} of {size_text(progress.total)} are on the disk"
