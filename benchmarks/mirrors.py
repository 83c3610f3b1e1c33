"""``python -m benchmarks mirrors``: one file from three mirrors with 10, 20 and 40 MB/s: first from correct mirrors,
then with one mirror that serves other bytes of the same length.

Each mirror is an nginx with TLS 1.3 at an address of its own. A class of the kernel's traffic shaper (htb) limits the
sum of its connections. The command is `modelferry pull`, with verification and durability. What a mirror sent is
counted from its access log.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.link_model import CONTENT, FRAME
from benchmarks.network_path import Endpoints, NetworkPath, established
from benchmarks.origins import settle
from benchmarks.payload import FileSet, GeneratedFile, generate
from cluster import ClusterError
from origin.certs import Authority
from origin.nginx import Nginx

#: The bandwidth of each mirror in bytes of content per second, by its name.
RATES = {"slow": 10_000_000, "middle": 20_000_000, "fast": 40_000_000}
#: The mirror that serves corrupt data in the second run.
CORRUPT = "middle"
#: The size of the file in the first run, and in the second, in which a part of it is downloaded more than once.
_LARGE, _SMALL = 3_000_000_000, 1_000_000_000
_DEVICE, _PORT = "wan0", 8443
#: The queue of each mirror, in bytes.
_QUEUE = 500_000


@dataclass(frozen=True, slots=True)
class Share:
    """What one mirror did: ``sent`` bytes of content; ``state`` as `pull` reports it at the end."""

    name: str
    rate: int
    sent: int
    state: str


@dataclass(frozen=True, slots=True)
class Run:
    """One download: ``seconds`` from the first request to the end of the last; ``correct``: whether the file has the
    declared digest."""

    title: str
    seconds: float
    size: int
    correct: bool
    shares: tuple[Share, ...]


def mirrors() -> int:
    """Measure, print a table for each run, and return 0 if both files are correct."""
    try:
        with machine.workplace() as work:
            machine.prepare()
            runs = [_run("three correct mirrors", work / "correct", _LARGE)]
            print(table(runs[0]), flush=True)
            runs.append(_run(f"the mirror {CORRUPT} serves corrupt data", work / "corrupt", _SMALL, CORRUPT))
            print(table(runs[1]), flush=True)
    except (machine.Busy, ClusterError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0 if all(run.correct for run in runs) else 1


def table(run: Run) -> str:
    """A row for each mirror, and one for the sum."""
    lines = [f"{run.title}:", "mirror      bandwidth         sent     rate        state"]
    lines += [
        f"{share.name:8s} {share.rate / 1e6:7.0f} MB/s {share.sent / 1e6:9.0f} MB"
        f" {share.sent / run.seconds / 1e6:6.1f} MB/s   {share.state}"
        for share in run.shares
    ]
    bandwidth = sum(share.rate for share in run.shares) / 1e6
    rate, verdict = run.size / run.seconds / 1e6, "correct" if run.correct else "WRONG"
    lines.append(f"total    {bandwidth:7.0f} MB/s {run.size / 1e6:9.0f} MB {rate:6.1f} MB/s   the file is {verdict}")
    return "\n".join([*lines, ""])


def _run(title: str, work: Path, size: int, corrupt: str = "") -> Run:
    right, wrong = work / "right", work / "wrong"
    files = FileSet(large_size=size)
    (generated,) = generate(right, files)
    if corrupt:
        generate(wrong, files, seed=2)
    authority = Authority(work)
    with established(NetworkPath("shaped")) as endpoints, ExitStack() as stack:
        _shape(endpoints)
        servers = {
            name: stack.enter_context(
                Nginx(
                    wrong if name == corrupt else right, leaf=authority.leaf(_address(number), name=name),
                    host=_address(number), port=_PORT, prefix=endpoints.server,
                )
            )
            for number, name in enumerate(RATES)
        }  # fmt: skip
        document = _artifact(generated, servers)
        (work / "model.yaml").write_text(json.dumps(document))
        states, code = _pull(endpoints, work, authority)
        for server in servers.values():
            settle(server.log)
        # Without the first request, which reads one byte to learn the size of the file from the source.
        requests = {name: [one for one in server.requests() if one.sent > 1] for name, server in servers.items()}
    everything = [one for some in requests.values() for one in some]
    seconds = max(one.time for one in everything) - min(one.time - one.seconds for one in everything)
    shares = tuple(
        Share(name, RATES[name], sum(one.sent for one in requests[name]), states.get(name, "")) for name in RATES
    )
    downloaded = work / "target" / "current" / generated.path
    correct = code == 0 and _sha256(downloaded) == generated.sha256
    shutil.rmtree(work, ignore_errors=True)
    return Run(title, seconds, generated.size, correct, shares)


def _address(number: int) -> str:
    return f"10.9.0.{10 + number}"


def _shape(endpoints: Endpoints) -> None:
    """Add an address for each mirror at the server's end, and a traffic class for its packets."""
    commands = [f"tc qdisc add dev {_DEVICE} root handle 1: htb"]
    for number, rate in enumerate(RATES.values()):
        wire = rate * 8 * FRAME / CONTENT
        class_ = f"1:{10 + number}"
        commands += [
            f"ip addr add {_address(number)}/24 dev {_DEVICE}",
            f"tc class add dev {_DEVICE} parent 1: classid {class_} htb rate {wire:.0f}bit quantum 60000",
            f"tc qdisc add dev {_DEVICE} parent {class_} bfifo limit {_QUEUE}",
            f"tc filter add dev {_DEVICE} parent 1: protocol ip u32 match ip src {_address(number)}/32 flowid {class_}",
        ]
    for command in commands:
        subprocess.run([*endpoints.server, *command.split()], check=True)


def _artifact(generated: GeneratedFile, servers: dict[str, Nginx]) -> dict[str, Any]:
    """The source is one of the mirrors; its URL is used only if all mirrors fail."""
    source = next(iter(servers.values())).url(generated.path)
    file = {"path": generated.path, "url": source, "sha256": generated.sha256, "size": generated.size}
    mirrors = [{"name": name, "url": server.url("{path}"), "priority": 0} for name, server in servers.items()]
    return {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "mirrors"},
        "spec": {"source": {"http": {"files": [file]}}, "mirrors": mirrors},
    }


def _pull(endpoints: Endpoints, work: Path, authority: Authority) -> tuple[dict[str, str], int]:
    """Run `modelferry pull`; returns the last state of each mirror, and the exit code."""
    binary = str(Path(sys.executable).with_name("modelferry"))
    command = [*endpoints.client, binary, "pull", str(work / "model.yaml"), "--to", str(work / "target"), "--json"]
    command += ["--ca-file", str(authority.ca_file)]
    states: dict[str, str] = {}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            states |= {mirror["name"]: mirror["state"] for mirror in json.loads(line).get("mirrors", [])}
    return states, process.returncode


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
