"""The main job without a cluster: a model of ChatTTS's shape, 1 GiB in 15 files, from a TLS server on this machine.

``make demo`` runs it. It makes the model from a seed, serves it on a free loopback port with a certificate of its own,
runs ``modelferry pull`` on a ModelArtifact as a cluster would get it, checks every file once more by itself, and shows
the result. It removes all its files at the end.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from examples.demo.serving import serving

from modelferry.values.quantities import size_text
from origin.certs import Authority
from origin.model import ModelFile, make_model

console = Console(highlight=False)


def main() -> int:
    """Run; returns 0, or the exit code of the command that failed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="modelferry-demo-", ignore_cleanup_errors=True) as directory:
            return demonstrate(Path(directory))
    except KeyboardInterrupt:
        console.print("interrupted; all files are removed")
        return 130


def demonstrate(work: Path) -> int:
    """All of it, with its files in `work`."""
    console.print("Making a model of 1 GiB …")
    (work / "origin").mkdir()
    files = make_model(work / "origin")
    authority = Authority(work)
    with serving(work / "origin", authority.leaf("127.0.0.1").context()) as url:
        artifact = work / "model.yaml"
        artifact.write_text(yaml.safe_dump(artifact_of(files, url), sort_keys=False))
        command = [
            "modelferry",
            "pull",
            str(artifact),
            "--to",
            str(work / "target"),
            "--ca-file",
            str(authority.ca_file),
        ]
        console.print(f"Serving it on {url}, and running\n  {' '.join(command)}", soft_wrap=True)
        code, result = pull([str(Path(sys.executable).with_name("modelferry")), *command[1:], "--json"])
    if code != 0:
        return code
    wrong = [file.path for file in files if sha256_of(Path(result["directory"]) / file.path) != file.sha256]
    show(files, result, wrong)
    return 1 if wrong else 0


def artifact_of(files: Sequence[ModelFile], url: str) -> dict[str, Any]:
    """The ModelArtifact, of the same shape as examples/model.yaml."""
    listed = [{"path": file.path, "url": f"{url}/{file.path}", "sha256": file.sha256} for file in files]
    return {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "chattts"},
        "spec": {"source": {"http": {"files": listed}}, "transfer": {"connections": 16}},
    }


def pull(command: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Run `modelferry pull`, which draws its progress on standard error; returns its exit code and its last event."""
    last: dict[str, Any] = {}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            last = json.loads(line)
    finally:
        # Ctrl-C reached the command too: wait for its end before the directory is removed.
        process.wait()
        process.stdout.close()
    return process.returncode, last


def sha256_of(path: Path) -> str:
    """The digest of a file, by nothing but the standard library."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def show(files: Sequence[ModelFile], result: dict[str, Any], wrong: Sequence[str]) -> None:
    """The table."""
    peak = result["peakMemory"]
    table = Table(show_header=False, title="Result", title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in {
        "files": str(result["files"]),
        "bytes": f"{result['bytes']:,} ({size_text(result['bytes'])})",
        "digest of the model": result["digest"],
        "sha256 of every file": f"[red]WRONG: {', '.join(wrong)}[/]"
        if wrong
        else f"checked once more, {len(files)} right",
        "time": f"{result['seconds']:.1f} s",
        "speed": f"{size_text(result['speed'])}/s, with verifying and publishing",
        "peak memory": f"fetch {size_text(peak['fetch'])}, checkpoint {size_text(peak['checkpoint'])}",
    }.items():
        table.add_row(name, value)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
