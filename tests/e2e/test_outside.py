"""The operator outside the cluster, started with `kopf run`; it reads the progress through the API server's pod
proxy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.conftest import Served
from e2e.namespace_client import SYSTEM, NamespaceClient, artifact
from e2e.platform import Platform
from origin.certs import Authority


@contextmanager
def kopf_run(platform: Platform, authority: Authority, log: Path) -> Iterator[None]:
    """`kopf run` on this machine, while the operator in the cluster is scaled to zero."""
    platform.kubectl("scale", "deployment/modelferry", "-n", SYSTEM, "--replicas=0")
    platform.kubectl(
        "wait", "--for=delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=modelferry", "--timeout=60s"
    )
    settings = {
        "KUBECONFIG": str(platform.kubeconfig),
        "MODELFERRY_NAMESPACE": SYSTEM,
        "MODELFERRY_IMAGE": platform.image,
        "MODELFERRY_TRUSTED_CA_FILE": str(authority.ca_file),
    }
    command = [
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--standalone",
        "--all-namespaces",
        "-m",
        "modelferry.controller.app",
    ]
    try:
        with (
            log.open("w") as out,
            subprocess.Popen(command, env={**os.environ, **settings}, stdout=out, stderr=out) as run,
        ):
            try:
                yield
            finally:
                run.terminate()
    finally:
        platform.kubectl("scale", "deployment/modelferry", "-n", SYSTEM, "--replicas=1")
        platform.kubectl("rollout", "status", "deployment/modelferry", "-n", SYSTEM, "--timeout=60s")


def test_an_operator_outside_the_cluster_reads_the_progress(
    installed: Platform, ns: NamespaceClient, small: Served, authority: Authority, tmp_path: Path
) -> None:
    selector = {"kubernetes.io/hostname": installed.node_names[0]}
    log = tmp_path / "operator.log"
    with kopf_run(installed, authority, log):
        ns.apply(artifact("outside", small.source, nodes={"selector": selector}, transfer={"connections": 4}))
        with ns.watching("outside") as statuses:
            ns.wait_ready("outside")
    shares = {status["bytes"]["percent"] for status in statuses if "bytes" in status}
    assert len(shares - {0, 100}) >= 3, log.read_text()
