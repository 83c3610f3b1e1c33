"""The machine: its description, the programs to install, and a working directory."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.tools import PACKAGES, Tool
from cluster import cache, prerequisites

#: Program -> Debian package, for the network paths and the origins.
_PATH_PACKAGES = {"nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2", "tc": "iproute2"}
_LOCK = Path(__file__).with_name("requirements.lock")


class Busy(Exception):
    """Another benchmark runs on this machine."""


def prepare() -> Path:
    """Install all tools that are missing; returns the Python that has hf_transfer."""
    prerequisites.ensure({**PACKAGES, **prerequisites.SERVER_PACKAGES, **_PATH_PACKAGES})
    key = cache.key_of(_LOCK, platform.python_version())
    return cache.built("benchmark-tools", key, _install) / "bin" / "python"


def _install(directory: Path) -> None:
    venv.create(directory, with_pip=True, symlinks=True)
    pip: list[str | Path] = [directory / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--require-hashes", "--only-binary", ":all:", "-r", _LOCK], check=True)


def why_no_namespaces() -> str:
    """Why no network path can be emulated here; empty if it can."""
    return "" if os.geteuid() == 0 else "network namespaces need root"


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty directory in the cache, for one benchmark at a time; files of a killed benchmark are removed."""
    home = cache.root() / "benchmark"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                "another benchmark runs on this machine, and would distort the results; wait until it ends"
            ) from None
        work = home / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        tempfile.tempdir = str(work)  # so that nginx's files are removed too, at the latest by the next benchmark
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def description(work: Path) -> dict[str, str]:
    """Processor, memory, kernel, system, and the file system of `work`; no host name."""
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {_processor()}",
        "memory": f"{_memory() / 2**30:.0f} GiB",
        "kernel": f"Linux {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "file system": file_system(Path("/proc/self/mounts").read_text(), work),
    }


def versions(tools: Sequence[Tool]) -> dict[str, str]:
    """The version of each tool and of the server."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    return {tool.name: tool.version() for tool in tools} | {"server": nginx.removeprefix("nginx version: ")}


def load() -> float:
    """The load average of the last minute. Other processes distort a benchmark."""
    return os.getloadavg()[0]


def file_system(mounts: str, path: Path) -> str:
    """The type of the file system of `path`, from the text of /proc/mounts."""
    found = ("", "unknown")
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split(" ")
        if path.is_relative_to(where) and len(where) >= len(found[0]):
            found = (where, kind)
    return found[1]


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def command(words: Sequence[str]) -> str:
    """The command line of this program, as a user types it."""
    return " ".join(["python -m benchmarks", *words])
