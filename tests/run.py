#!/usr/bin/env python3
"""`make test`: runs all tests that this machine can run, and names those that it skips. With CI=true it skips none.

The end-to-end tests wait most of the time. They run on two clusters at once, and beside the other tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))

from cluster import ClusterError, prerequisites  # noqa: E402


def why_no_cluster() -> str:
    """Why the end-to-end tests cannot run here, with the remedy; empty if they can."""
    if os.environ.get("KUBECONFIG") or os.environ.get("CLUSTER"):
        return ""
    if sys.platform != "linux":
        return "a test cluster needs Linux; to use another cluster, run: KUBECONFIG=… make test"
    if os.geteuid() != 0:
        return "a test cluster needs root; run: sudo make test, or with another cluster: KUBECONFIG=… make test"
    return ""


def why_missing(packages: dict[str, str]) -> str:
    """Why Debian `packages` are missing, with the remedy; empty if they are installed."""
    try:
        prerequisites.ensure(packages)
    except ClusterError as error:
        return str(error)
    return ""


def main() -> int:
    """Run the tests without and with a cluster; returns the first non-zero exit code."""
    reasons = {
        "e2e": why_no_cluster(),
        "nginx, squid, dante": why_missing(prerequisites.SERVER_PACKAGES),
        "exFAT": why_missing(prerequisites.FILE_SYSTEM_PACKAGES),
        "promtool": why_missing(prerequisites.METRICS_PACKAGES),
    }
    skipped = {part: why for part, why in reasons.items() if why}
    for part, why in skipped.items():
        print(f"skipped: {part}: {why}", flush=True)
    if skipped and os.environ.get("CI") == "true":
        print("CI=true: no test may be skipped", file=sys.stderr)
        return 1
    lanes = {"tests": [["-m", "not e2e"]]}
    if "e2e" not in skipped:
        lanes["tests"].append(["-m", "e2e", "--ignore=tests/e2e"])
        lanes["e2e"] = [["-m", "e2e", "tests/e2e", *on_two_clusters()]]
    with ThreadPoolExecutor() as pool:
        codes = [code for found in pool.map(_run_lane, lanes.items()) for code in found]
    return next((code for code in codes if code), 0)


def on_two_clusters() -> list[str]:
    """pytest-xdist's options for two workers, each with a cluster of its own; none if the user has chosen a cluster."""
    return [] if os.environ.get("KUBECONFIG") or os.environ.get("CLUSTER") else ["-n", "2", "--dist", "loadfile"]


def _run_lane(lane: tuple[str, list[list[str]]]) -> list[int]:
    name, runs = lane
    return [_pytest(name, run) for run in runs]


def _pytest(lane: str, options: list[str]) -> int:
    """Run pytest and print its lines after the name of the lane; returns the exit code."""
    command = [sys.executable, "-m", "pytest", "--durations=10", *options]
    with subprocess.Popen(command, cwd=TESTS.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{lane + ':':7}{line.decode(errors='replace')}", end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
