"""``python -m benchmarks artifacts``: thirty artifacts of 3 MB each, applied at once to a new cluster of two nodes,
until all of them are Ready on both.

Each artifact takes a resolve pod, and on each node a prepare pod and a download pod: 150 pods. The result shows what
such a pod costs: the CPU seconds of the machine, which runs nothing else, and the requests to the API server. The
cluster is the one of the end-to-end tests: both nodes share the machine's processors.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.stats import MB
from cluster import Cluster, image
from e2e.demo import install
from e2e.namespace_client import NamespaceClient, artifact
from e2e.platform import Platform
from origin.certs import Authority
from origin.nginx import Nginx

_COUNT, _SIZE, _NODES = 30, 3 * MB, 2
_PODS = _COUNT * (1 + 2 * _NODES)
_NAMESPACE = "many"
#: Seconds after which the benchmark fails, and that the goal is.
_TIMEOUT, _GOAL = 600, 60


@dataclass(frozen=True, slots=True)
class Usage:
    """``at``: seconds; ``cpu``: seconds of all processors; ``requests``: that the API server has answered."""

    at: float
    cpu: float
    requests: float


def artifacts() -> int:
    """Run the benchmark, and print its result. Returns the exit code: 0 if the goal is reached."""
    built = image.project_image()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Cluster.up(nodes=_NODES, images=[built.tar]) as cluster,
    ):
        platform = Platform(cluster.kubeconfig, built.reference, cluster.host_address, cluster)
        authority, root = Authority(Path(scratch)), Path(scratch, "files")
        install(platform, authority.ca_file)
        platform.kubectl("create", "namespace", _NAMESPACE)
        leaf = authority.leaf(platform.host_address)
        root.mkdir()
        contents = {f"model-{number}": os.urandom(_SIZE) for number in range(_COUNT)}
        for name, content in contents.items():
            (root / name).write_bytes(content)
        with Nginx(root, leaf=leaf, host=platform.host_address) as nginx:
            documents = [_document(nginx.url(name), name, content) for name, content in contents.items()]
            before, after = _run(NamespaceClient(platform, _NAMESPACE), documents)
    return _print(before, after)


def _document(url: str, name: str, content: bytes) -> dict[str, Any]:
    file = {"path": "model.bin", "url": url, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return artifact(name, [file])


def _run(client: NamespaceClient, documents: list[dict[str, Any]]) -> tuple[Usage, Usage]:
    before = _usage(client.platform)
    client.apply(*documents)
    client.kubectl("wait", "--for=condition=Ready", "ma", "--all", f"--timeout={_TIMEOUT}s", timeout=_TIMEOUT + 10)
    return before, _usage(client.platform)


def _usage(platform: Platform) -> Usage:
    shown = platform.kubectl("get", "--raw", "/metrics").splitlines()
    requests = sum(float(line.rsplit(" ", 1)[1]) for line in shown if line.startswith("apiserver_request_total{"))
    # user, nice, system; then idle, iowait, irq, softirq (proc_stat(5)), in 1/100 s
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    return Usage(time.monotonic(), (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK"), requests)


def _print(before: Usage, after: Usage) -> int:
    seconds, cpu = after.at - before.at, after.cpu - before.cpu
    requests = after.requests - before.requests
    result = {
        "artifacts": _COUNT,
        "nodes": _NODES,
        "processors": os.cpu_count(),
        "pods": _PODS,
        "seconds until all are Ready": round(seconds, 1),
        "CPU seconds": round(cpu, 1),
        "CPU seconds per pod": round(cpu / _PODS, 2),
        "requests to the API server": round(requests),
        "requests per pod": round(requests / _PODS, 1),
    }
    print(json.dumps(result, indent=2))
    if seconds > _GOAL:
        print(f"the goal of {_GOAL} s is missed", file=sys.stderr)
    return int(seconds > _GOAL)
