"""``python -m benchmarks mirrors``: one file from three mirrors that can bring 10, 20 and 40 MB/s, all honest; and then
with one that serves other bytes of the same length.

Each mirror is an nginx with TLS 1.3 at an address of its own, behind a class of its own of the kernel's shaper (htb):
all its connections together get that much and no more. The command is `modelferry pull`, with verification and
durability on. What a mirror brought is counted by its own access log.
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
from benchmarks.line import CONTENT, FRAME
from benchmarks.links import Line, Link, opened
from benchmarks.origins import settle
from benchmarks.payload import Files, Made, make
from cluster import ClusterError
from origin.certs import Authority
from origin.nginx import Nginx

#: Bytes of content per second that each mirror's line carries, by its name.
RATES = {"slow": 10_000_000, "middle": 20_000_000, "fast": 40_000_000}
#: Which of them lies in the second run.
LIAR = "middle"
#: Bytes of the file that honest mirrors bring, and of the one that a liar has a part in, which comes more than once.
_LONG, _SHORT = 3_000_000_000, 1_000_000_000
_DEVICE, _PORT = "wan0", 8443
#: The queue before each line.
_QUEUE = 500_000


@dataclass(frozen=True, slots=True)
class Share:
    """What one mirror did: ``sent`` bytes of content, ``state`` at the end as the download told it."""

    name: str
    rate: int
    sent: int
    state: str


@dataclass(frozen=True, slots=True)
class Run:
    """One download: ``seconds`` from the first request to the end of the last; ``right``: whether the file is the one
    that was declared."""

    title: str
    seconds: float
    size: int
    right: bool
    shares: tuple[Share, ...]


def mirrors() -> int:
    """Measure, print a table for each run, and return 0 where both files are right."""
    try:
        with machine.workplace() as work:
            machine.prepare()
            runs = [_run("three honest mirrors", work / "honest", _LONG)]
            print(table(runs[0]), flush=True)
            runs.append(_run(f"the mirror {LIAR} lies", work / "lying", _SHORT, LIAR))
            print(table(runs[1]), flush=True)
    except (machine.Busy, ClusterError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0 if all(run.right for run in runs) else 1


def table(run: Run) -> str:
    """A line for each mirror, and one for all."""
    lines = [f"{run.title}:", "mirror      can bring      brought       at        state"]
    lines += [
        f"{share.name:8s} {share.rate / 1e6:7.0f} MB/s {share.sent / 1e6:9.0f} MB"
        f" {share.sent / run.seconds / 1e6:6.1f} MB/s   {share.state}"
        for share in run.shares
    ]
    can = sum(share.rate for share in run.shares) / 1e6
    whole, verdict = run.size / run.seconds / 1e6, "right" if run.right else "WRONG"
    lines.append(f"together {can:7.0f} MB/s {run.size / 1e6:9.0f} MB {whole:6.1f} MB/s   the file is {verdict}")
    return "\n".join([*lines, ""])


def _run(title: str, work: Path, size: int, liar: str = "") -> Run:
    true, false = work / "true", work / "false"
    files = Files(large_size=size)
    (made,) = make(true, files)
    if liar:
        make(false, files, seed=2)
    authority = Authority(work)
    with opened(Line("shaped")) as link, ExitStack() as stack:
        _shape(link)
        servers = {
            name: stack.enter_context(
                Nginx(
                    false if name == liar else true, leaf=authority.leaf(_address(number), name=name),
                    host=_address(number), port=_PORT, prefix=link.server,
                )
            )
            for number, name in enumerate(RATES)
        }  # fmt: skip
        document = _artifact(made, servers)
        (work / "model.yaml").write_text(json.dumps(document))
        states, code = _pull(link, work, authority)
        for server in servers.values():
            settle(server.log)
        # The first request of all asks for a byte: what the source says of the file.
        asked = {name: [one for one in server.requests() if one.sent > 1] for name, server in servers.items()}
    requests = [one for found in asked.values() for one in found]
    seconds = max(one.time for one in requests) - min(one.time - one.seconds for one in requests)
    shares = tuple(
        Share(name, RATES[name], sum(one.sent for one in asked[name]), states.get(name, "")) for name in RATES
    )
    arrived = work / "target" / "current" / made.path
    right = code == 0 and _sha256(arrived) == made.sha256
    shutil.rmtree(work, ignore_errors=True)
    return Run(title, seconds, made.size, right, shares)


def _address(number: int) -> str:
    return f"10.9.0.{10 + number}"


def _shape(link: Link) -> None:
    """An address for each mirror on the server's end, and a class for what leaves from it."""
    words = [f"tc qdisc add dev {_DEVICE} root handle 1: htb"]
    for number, rate in enumerate(RATES.values()):
        wire = rate * 8 * FRAME / CONTENT
        class_ = f"1:{10 + number}"
        words += [
            f"ip addr add {_address(number)}/24 dev {_DEVICE}",
            f"tc class add dev {_DEVICE} parent 1: classid {class_} htb rate {wire:.0f}bit quantum 60000",
            f"tc qdisc add dev {_DEVICE} parent {class_} bfifo limit {_QUEUE}",
            f"tc filter add dev {_DEVICE} parent 1: protocol ip u32 match ip src {_address(number)}/32 flowid {class_}",
        ]
    for word in words:
        subprocess.run([*link.server, *word.split()], check=True)


def _artifact(made: Made, servers: dict[str, Nginx]) -> dict[str, Any]:
    """The source is the first of the mirrors, but asked for bytes as the last resort alone."""
    source = next(iter(servers.values())).url(made.path)
    file = {"path": made.path, "url": source, "sha256": made.sha256, "size": made.size}
    equal = [{"name": name, "url": server.url("{path}"), "priority": 0} for name, server in servers.items()]
    return {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "mirrors"},
        "spec": {"source": {"http": {"files": [file]}}, "mirrors": equal},
    }


def _pull(link: Link, work: Path, authority: Authority) -> tuple[dict[str, str], int]:
    """Run `modelferry pull`; returns the last state of each mirror, and the exit code."""
    binary = str(Path(sys.executable).with_name("modelferry"))
    command = [*link.client, binary, "pull", str(work / "model.yaml"), "--to", str(work / "target"), "--json"]
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
