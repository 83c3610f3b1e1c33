#!/usr/bin/env python3
"""`make test`: all that can run here, and one line for each part that cannot. With CI=true nothing is left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))

from cluster import ClusterError, needs  # noqa: E402


def why_no_cluster() -> str:
    """Why the end-to-end suite cannot run here, with the way out; empty where it can."""
    if os.environ.get("KUBECONFIG") or os.environ.get("CLUSTER"):
        return ""
    if sys.platform != "linux":
        return "a cluster is raised on Linux alone; KUBECONFIG=… make test runs the suite against another one"
    if os.geteuid() != 0:
        return "raising a cluster needs root: sudo make test, or KUBECONFIG=… make test against another one"
    return ""


def why_no_servers() -> str:
    """Why the real web server and the real proxies are not there."""
    try:
        needs.ensure(needs.ORIGIN_PACKAGES)
    except ClusterError as error:
        return str(error)
    return ""


def main() -> int:
    """Run both halves; the exit code is the first that is not 0."""
    left_out = {
        part: why for part, why in {"e2e": why_no_cluster(), "nginx, squid, dante": why_no_servers()}.items() if why
    }
    for part, why in left_out.items():
        print(f"left out: {part}: {why}", flush=True)
    if left_out and os.environ.get("CI") == "true":
        print("CI=true: nothing may be left out", file=sys.stderr)
        return 1
    codes = [_pytest("not e2e")]
    if "e2e" not in left_out:
        codes.append(_pytest("e2e"))
    return next((code for code in codes if code), 0)


def _pytest(marker: str) -> int:
    command = [sys.executable, "-m", "pytest", "-m", marker, "--durations=10"]
    return subprocess.run(command, cwd=TESTS.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
