"""The example end to end: both nodes get the model, the status shows the progress, and inference pods read it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from e2e.conftest import Served, namespace
from e2e.consumers import GATED, WAITING, example_consumers, example_model
from e2e.namespace_client import NamespaceClient, Object
from e2e.origins import MIB, model
from e2e.platform import Platform
from modelferry.resource import names
from origin.certs import Leaf
from origin.nginx import Nginx

#: The connections in the example.
STREAMS = 16


@dataclass(frozen=True)
class Download:
    """What was observed during the download."""

    ns: NamespaceClient
    served: Served
    statuses: list[Object]
    phases_before: dict[str, str]


@pytest.fixture(scope="module")
def download(installed: Platform, leaf: Leaf) -> Iterator[Download]:
    """Create the consumers, then the model of 1 GiB, which takes about 30 s at 2 MiB/s per stream."""
    root, found = model(1024 * MIB)
    with (
        namespace(installed) as ns,
        Nginx(root, leaf=leaf, host=installed.host_address, rate=2 * MIB, workers=2) as nginx,
    ):
        served = Served(nginx, found)
        ns.apply(*example_consumers(installed.image))
        ns.apply(example_model(served.source))
        with ns.watching("chattts") as statuses:
            ns.wait_bytes("chattts", installed.node_names[0], 0.3)
            before = phases(ns)
            ns.wait_ready("chattts", timeout=240)
            for app in (GATED, WAITING):
                ns.kubectl("rollout", "status", f"deployment/{app}", "--timeout=90s")
        yield Download(ns, served, statuses, before)


def phases(ns: NamespaceClient) -> dict[str, str]:
    """The phase of each consumer's pod."""
    pods = ns.all("pods", f"app in ({GATED}, {WAITING})")
    return {pod["metadata"]["labels"]["app"]: pod["status"]["phase"] for pod in pods}


def test_every_node_is_ready_and_labelled_with_the_revision(download: Download) -> None:
    status = download.ns.status("chattts")
    nodes = download.ns.platform.node_names
    assert status["nodes"] == {"total": len(nodes), "ready": len(nodes), "stalled": 0}
    assert status["sizeBytes"] == download.served.size
    assert status["checksum"] == "Verified"
    key = names.ready_label(download.ns.namespace, "chattts")
    assert {download.ns.node_label(node, key) for node in nodes} == {status["revision"]}


def test_progress_increased_in_the_status_at_least_five_times(download: Download) -> None:
    amounts = [status.get("bytes", {}).get("done", 0) for status in download.statuses]
    rises = [after for before, after in pairwise(amounts) if after > before]
    assert len(rises) >= 5
    assert amounts == sorted(amounts), "the progress decreased"


def test_speed_eta_and_percent_were_shown_during_the_download(download: Download) -> None:
    summaries = [status["summary"] for status in download.statuses if "summary" in status]
    assert any(re.fullmatch(r"[\d.]+MiB/s", summary.get("speed", "")) for summary in summaries)
    assert any(re.fullmatch(r"\d+s|\d+m\d+s", summary.get("eta", "")) for summary in summaries)
    assert {"0/2", "2/2"} <= {summary["nodes"] for summary in summaries} or len(summaries) > 5


def test_both_consumers_were_pending_before_the_download(download: Download) -> None:
    assert download.phases_before == {GATED: "Pending", WAITING: "Pending"}


@pytest.mark.parametrize("app", [GATED, WAITING])
def test_the_consumer_reads_the_correct_content(download: Download, app: str) -> None:
    download.ns.wait("the consumer to have read the model", lambda: "ready\n" in download.ns.consumer_log(app)[-6:], 60)
    log = download.ns.consumer_log(app)
    for file in download.served.files:
        assert f"{file.sha256}  ./{file.path}" in log


def test_no_byte_was_fetched_twice(download: Download) -> None:
    copies = len(download.ns.platform.node_names)
    probes = len(download.served.files)
    assert download.served.sent() <= copies * download.served.size + probes


def test_kubectl_get_shows_all_columns(download: Download) -> None:
    lines = download.ns.kubectl("get", "ma").splitlines()
    assert lines[0].split() == [
        "NAME",
        "REVISION",
        "SIZE",
        "NODES",
        "PROGRESS",
        "SPEED",
        "ETA",
        "READY",
        "STATUS",
        "AGE",
    ]
    assert re.search(r"chattts +[0-9a-f]{12} +1\.0Gi +2/2 +100% +True +Ready on 2 nodes", lines[1])


def test_the_milestones_are_reported_as_events(download: Download) -> None:
    reasons = [reason for reason, _ in download.ns.events("chattts")]
    assert reasons[0] == "Resolved"
    assert reasons.count("NodeReady") == len(download.ns.platform.node_names)
    assert reasons[-1] == "Ready"


def test_a_finished_download_leaves_no_pod(download: Download) -> None:
    assert download.ns.pods("chattts") == []
    assert download.ns.pods("chattts", "resolve") == []


def test_the_artifact_is_not_written_for_a_minute_after_it_is_ready(download: Download) -> None:
    ns = download.ns
    argv, environment = ns.platform.kubectl_argv(
        "-n", ns.namespace, "get", "ma", "chattts", "--watch-only", "-o", "json"
    )
    before = ns.get("ma", "chattts")["metadata"]["resourceVersion"]
    with pytest.raises(subprocess.TimeoutExpired) as watched:
        subprocess.run(argv, env=environment, timeout=60, capture_output=True, check=True)
    assert not watched.value.stdout
    assert ns.get("ma", "chattts")["metadata"]["resourceVersion"] == before
