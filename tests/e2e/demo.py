"""`make cluster-demo`: creates a cluster, installs the chart, applies the example, shows `kubectl get ma -w`, and the
log of an inference pod that was Pending until the model was ready. Deletes the cluster at the end."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cluster import Cluster, ClusterError, image
from cluster.shell import wait_until
from e2e.consumers import EXAMPLES, GATED, example_consumers, example_model
from e2e.namespace_client import SYSTEM
from e2e.origins import MIB, files, model
from e2e.platform import Platform
from origin.certs import Authority
from origin.nginx import Nginx

CHART = EXAMPLES.parent / "charts/modelferry"


def main() -> None:
    """Run the demo, which takes about two minutes."""
    with tempfile.TemporaryDirectory() as scratch:
        built = image.project_image()
        heading("creating a cluster with two nodes")
        with Cluster.up(nodes=2, disk="4G", images=[built.tar]) as cluster:
            platform = Platform(cluster.kubeconfig, built.reference, cluster.host_address, cluster)
            authority = Authority(Path(scratch))
            install(platform, authority.ca_file)
            root, found = model(1024 * MIB)
            leaf = authority.leaf(platform.host_address)
            with Nginx(root, leaf=leaf, host=platform.host_address, rate=3 * MIB, workers=2) as nginx:
                show(platform, example_model(files(nginx, found)))


def install(platform: Platform, ca_file: Path) -> None:
    """Install the chart, as in the README."""
    heading("installing the chart")
    repository, _, tag = platform.image.rpartition(":")
    platform.helm(
        "upgrade", "--install", "modelferry", CHART, "--namespace", SYSTEM, "--create-namespace", "--wait",
        "--set", f"image.repository={repository},image.tag={tag}", "--set-file", f"trustedCA={ca_file}",
    )  # fmt: skip


def show(platform: Platform, artifact: dict[str, object]) -> None:
    """Apply the consumer, which is Pending, and the model; watch it; then show the consumer's log."""
    heading("kubectl apply -f inference.yaml, then model.yaml")
    documents = [*example_consumers(platform.image)[:1], artifact]
    platform.kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(document) for document in documents))
    print(platform.kubectl("get", "pods", "-l", f"app={GATED}"), flush=True)
    heading("kubectl get ma -w")
    argv, environment = platform.kubectl_argv("get", "ma", "chattts", "--watch")
    with subprocess.Popen(argv, env=environment) as watch:
        try:
            platform.kubectl("wait", "--for=condition=Ready", "ma/chattts", "--timeout=180s", timeout=200)
        finally:
            watch.terminate()
    heading("kubectl get events")
    print(platform.kubectl("get", "events", "--field-selector", "involvedObject.kind=ModelArtifact"))
    platform.kubectl("rollout", "status", f"deployment/{GATED}", "--timeout=60s")
    heading(f"kubectl logs deployment/{GATED}")
    wait_until("the consumer to have read the model", lambda: "ready\n" in log(platform)[-6:], 60)
    print(log(platform))
    platform.kubectl("delete", "deployment", GATED, "--timeout=60s")
    heading("kubectl delete ma chattts")
    print(platform.kubectl("delete", "ma", "chattts", "--timeout=90s"))


def log(platform: Platform) -> str:
    """The log of the consumer."""
    return platform.kubectl("logs", f"deployment/{GATED}")


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n--- {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        sys.exit(f"cluster-demo: {error}")
