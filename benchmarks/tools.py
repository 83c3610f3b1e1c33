"""The tools that are compared, with the options that a user would give.

All trust the origin's CA, use no proxy, and, if they have such an option, abort a connection after 30 s without data,
as Modelferry does. Tools with several connections for one file use 16, the maximum of aria2c; Modelferry uses its
default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import yaml

from benchmarks.measure import Command, Launch
from benchmarks.payload import GeneratedFile
from benchmarks.stats import OURS, UNVERIFIED
from modelferry.manifest import Digest, FileEntry, Location, encode
from modelferry.manifest.entries import content_addressed

#: Program -> Debian package.
PACKAGES = {"wget": "wget", "curl": "curl", "axel": "axel", "aria2c": "aria2"}
#: Seconds without data after which a tool aborts a connection.
_STALL_TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class Job:
    """Download ``files`` from ``base`` + their path to ``target``. ``scratch`` is an empty directory, ``ca_file`` the
    CA to trust (None: plain HTTP), ``python`` the interpreter that has hf_transfer."""

    files: tuple[GeneratedFile, ...]
    base: str
    target: Path
    scratch: Path
    ca_file: Path | None
    python: Path

    def url(self, file: GeneratedFile) -> str:
        """The URL of `file`."""
        return self.base + file.path

    def write(self, name: str, lines: list[str]) -> str:
        """Write a file of `lines` into the scratch directory; returns its path."""
        path = self.scratch / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    def env(self) -> dict[str, str]:
        """The environment of every tool: no proxies, no configuration of the user."""
        env = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.scratch), "LANG": "C.UTF-8"}
        return env | ({"SSL_CERT_FILE": str(self.ca_file)} if self.ca_file else {})


@dataclass(frozen=True, slots=True)
class Tool:
    """``launch`` returns the commands for a job; ``root`` is the directory of the files afterwards, relative to the
    target; ``command`` is what the tables show; ``version`` returns the version."""

    name: str
    launch: Callable[[Job], Launch]
    command: str
    version: Callable[[], str]
    root: str = "."


def _wget(job: Job) -> Launch:
    words = ["wget", "--no-config", "-q", "-T", str(_STALL_TIMEOUT), "-x", "-nH", "-P", str(job.target)]
    words += ["--ca-certificate", str(job.ca_file)] if job.ca_file else []
    return _launch(*words, "-i", job.write("urls", [job.url(file) for file in job.files]))


def _curl(job: Job) -> Launch:
    lines = [f'url = "{job.url(file)}"\noutput = "{job.target / file.path}"' for file in job.files]
    words = [
        "curl",
        "-q",
        "-sS",
        "--fail",
        "--create-dirs",
        "--speed-limit",
        "1024",
        "--speed-time",
        str(_STALL_TIMEOUT),
    ]
    words += ["--retry", "20", "--retry-all-errors", "-C", "-"]
    words += ["-Z"] if len(job.files) > 1 else []
    words += ["--cacert", str(job.ca_file)] if job.ca_file else []
    return _launch(*words, "-K", job.write("config", lines))


def _axel(job: Job) -> Launch:
    # -k: it cannot verify an IP address in a certificate, and would refuse every one.
    words = ["axel", "-q", "-k", "-T", str(_STALL_TIMEOUT)]
    _directories(job)
    if len(job.files) == 1:
        return _launch(*words, "-n", "16", "-o", str(job.target / job.files[0].path), job.url(job.files[0]))
    # One file for each process. Small files do not need 16 connections.
    lines = [
        f"-n {16 if file.size > 1_000_000 else 1} -o {job.target / file.path} {job.url(file)}" for file in job.files
    ]
    return _launch("xargs", "-a", job.write("files", lines), "-P", "16", "-L", "1", *words)


def _aria2(job: Job) -> Launch:
    lines = [
        f"{job.url(file)}\n dir={(job.target / file.path).parent}\n out={Path(file.path).name}" for file in job.files
    ]
    words = [
        "aria2c",
        "--no-conf",
        "-q",
        "-x16",
        "-s16",
        "-k1M",
        "-j16",
        "--file-allocation=falloc",
        f"-t{_STALL_TIMEOUT}",
    ]
    words += ["--max-tries=20", "--allow-overwrite=true", "--auto-file-renaming=false"]
    words += [f"--ca-certificate={job.ca_file}"] if job.ca_file else []
    return _launch(*words, "-i", job.write("input", lines))


def _hf_transfer(job: Job) -> Launch:
    pairs = json.dumps([(job.url(file), str(job.target / file.path)) for file in job.files])
    return _launch(str(job.python), str(Path(__file__).with_name("hf_runner.py")), job.write("pairs", [pairs]))


def modelferry(options: tuple[str, ...] = ()) -> Tool:
    """The two agents of a download pod; `options` are those of fetch."""
    shown = " ".join(["", *options])
    command = f"modelferry agent fetch{shown} … beside modelferry agent checkpoint …"
    return Tool(OURS + shown, lambda job: _agents(job, options), command, _our_version, root="current")


def unverified() -> Tool:
    """Modelferry with a checkpoint agent that neither verifies nor syncs anything."""

    def launch(job: Job) -> Launch:
        agents = _agents(job, ())
        data, *shared = [str(job.target), "--manifest", f"{job.scratch}/manifest", "--socket", f"{job.scratch}/link"]
        script = str(Path(__file__).with_name("unverified.py"))
        words = (sys.executable, "-P", script, "--data", data, *shared)
        return Launch(agents.main, (Command(words, "unverified"),))

    command = "modelferry agent fetch … beside benchmarks/unverified.py …"
    return Tool(UNVERIFIED, launch, command, _our_version, root="current")


def _agents(job: Job, options: tuple[str, ...]) -> Launch:
    entries = tuple(
        FileEntry(file.path, file.size, Digest("sha256", file.sha256), (Location(job.url(file)),)) for file in job.files
    )
    (job.scratch / "manifest").write_bytes(encode(content_addressed(entries)))
    (job.scratch / "model.yaml").write_text(yaml.safe_dump(_artifact(job)))
    binary = str(Path(sys.executable).with_name("modelferry"))
    shared = ["--manifest", f"{job.scratch}/manifest", "--socket", f"{job.scratch}/link"]
    checkpoint = ["agent", "checkpoint", "--data", str(job.target), "--status-socket", f"{job.scratch}/status"]
    fetch = ["agent", "fetch", "--artifact", f"{job.scratch}/model.yaml", "--outcome", f"{job.scratch}/outcome"]
    fetch += ["--ca-file", str(job.ca_file)] if job.ca_file else []
    return Launch(
        Command((binary, *fetch, *shared, *options), "fetch"), (Command((binary, *checkpoint, *shared), "checkpoint"),)
    )


def _artifact(job: Job) -> dict[str, object]:
    """The ModelArtifact of the pod. fetch reads only its ``transfer``, so one file is enough."""
    file = job.files[0]
    return {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "benchmark"},
        "spec": {
            "source": {"http": {"files": [{"path": file.path, "url": job.url(file)}]}},
            "transfer": {"tls": {"allowPlainHTTP": job.ca_file is None}},
        },
    }


def sha256sum(job: Job) -> Launch:
    """Compare the digests of all files in the working directory with the expected ones."""
    lines = [f"{file.sha256}  {file.path}" for file in job.files]
    return _launch("sha256sum", "--check", "--quiet", "--strict", job.write("sums", lines))


def _launch(*words: str) -> Launch:
    return Launch(Command(words))


def _directories(job: Job) -> None:
    for parent in {(job.target / file.path).parent for file in job.files}:
        parent.mkdir(parents=True, exist_ok=True)


def _first_line(*words: str) -> Callable[[], str]:
    """Returns a function that returns the first line of a command's output."""

    def run() -> str:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).partition("\n")[0].strip()

    return run


def _our_version() -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    revision = f" (commit {commit.stdout.strip()})" if commit.returncode == 0 else ""
    return f"Modelferry {metadata.version('modelferry')}{revision}, Python {sys.version.split()[0]}"


def _locked_version() -> str:
    lock = Path(__file__).with_name("requirements.lock").read_text()
    return next(line.rstrip(" \\").replace("==", " ") for line in lock.splitlines() if "==" in line)


#: In the order of the tables. ``…`` in a command stands for the URL, the target and the CA.
TOOLS = (
    Tool("wget", _wget, f"wget -q -T {_STALL_TIMEOUT} …", _first_line("wget", "--version")),
    Tool(
        "curl",
        _curl,
        f"curl --fail --retry 20 --retry-all-errors -C - (-Z) --speed-time {_STALL_TIMEOUT} …",
        _first_line("curl", "--version"),
    ),
    Tool(
        "axel",
        _axel,
        f"axel -q -k -n 16 -T {_STALL_TIMEOUT} … (many files: xargs -P 16)",
        _first_line("axel", "--version"),
    ),
    Tool("aria2c", _aria2, "aria2c -x16 -s16 -k1M -j16 --file-allocation=falloc …", _first_line("aria2c", "--version")),
    Tool("hf_transfer", _hf_transfer, "hf_transfer as huggingface_hub calls it", _locked_version),
    modelferry(),
)
