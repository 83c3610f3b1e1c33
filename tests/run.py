#!/usr/bin/env python3
"""`make test`: runs all tests that this machine can run, and names those that it skips. With CI=true it skips none."""

from __future__ import annotations

import os
import subprocess
import sys
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
    codes = [_pytest("not e2e")]
    if "e2e" not in skipped:
        codes.append(_pytest("e2e"))
    return next((code for code in codes if code), 0)


def _pytest(marker: str) -> int:
    command = [sys.executable, "-m", "pytest", "-m", marker, "--durations=10"]
    return subprocess.run(command, cwd=TESTS.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
