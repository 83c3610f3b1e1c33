"""The whole way: the example is applied, both nodes get the model, progress is seen, and inference pods read it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from e2e.conftest import Served, namespace
from e2e.consumers import GATED, WAITING, example_consumers, example_model
from e2e.kit import Kit, Object
from e2e.origins import MIB, model
from e2e.platform import Platform
from modelferry.resource import names
from origin.certs import Leaf
from origin.nginx import Nginx

#: Streams of the example.
STREAMS = 16


@dataclass(frozen=True)
class Arrival:
    """What was seen on the way."""

    kit: Kit
    served: Served
    statuses: list[Object]
    phases_before: dict[str, str]


@pytest.fixture(scope="module")
def arrival(installed: Platform, leaf: Leaf) -> Iterator[Arrival]:
    """Consumers first, then the model of 1 GiB: about 30 s at 2 MiB/s a stream."""
    root, found = model(1024 * MIB)
    with (
        namespace(installed) as kit,
        Nginx(root, leaf=leaf, host=installed.host_address, rate=2 * MIB, workers=2) as nginx,
    ):
        served = Served(nginx, found)
        kit.apply(*example_consumers(installed.image))
        kit.apply(example_model(served.source))
        with kit.watching("chattts") as statuses:
            kit.wait_bytes("chattts", installed.node_names[0], 0.3)
            before = phases(kit)
            kit.wait_ready("chattts", timeout=240)
            for app in (GATED, WAITING):
                kit.kubectl("rollout", "status", f"deployment/{app}", "--timeout=90s")
        yield Arrival(kit, served, statuses, before)


def phases(kit: Kit) -> dict[str, str]:
    """Phase of each consumer's pod."""
    pods = kit.all("pods", f"app in ({GATED}, {WAITING})")
    return {pod["metadata"]["labels"]["app"]: pod["status"]["phase"] for pod in pods}


def test_every_node_is_ready_and_labelled_with_the_revision(arrival: Arrival) -> None:
    status = arrival.kit.status("chattts")
    nodes = arrival.kit.platform.node_names
    assert status["nodes"] == {"total": len(nodes), "ready": len(nodes), "stalled": 0}
    assert status["sizeBytes"] == arrival.served.size
    assert status["checksum"] == "Verified"
    key = names.ready_label(arrival.kit.namespace, "chattts")
    assert {arrival.kit.node_label(node, key) for node in nodes} == {status["revision"]}


def test_progress_rose_in_the_status_at_least_five_times(arrival: Arrival) -> None:
    amounts = [status.get("bytes", {}).get("done", 0) for status in arrival.statuses]
    rises = [after for before, after in pairwise(amounts) if after > before]
    assert len(rises) >= 5
    assert amounts == sorted(amounts), "progress went back"


def test_speed_eta_and_percent_were_shown_on_the_way(arrival: Arrival) -> None:
    summaries = [status["summary"] for status in arrival.statuses if "summary" in status]
    assert any(re.fullmatch(r"[\d.]+MiB/s", summary.get("speed", "")) for summary in summaries)
    assert any(re.fullmatch(r"\d+s|\d+m\d+s", summary.get("eta", "")) for summary in summaries)
    assert {"0/2", "2/2"} <= {summary["nodes"] for summary in summaries} or len(summaries) > 5


def test_both_consumers_were_pending_before(arrival: Arrival) -> None:
    assert arrival.phases_before == {GATED: "Pending", WAITING: "Pending"}


@pytest.mark.parametrize("app", [GATED, WAITING])
def test_the_consumer_reads_the_right_digests(arrival: Arrival, app: str) -> None:
    arrival.kit.wait("the consumer to have read it all", lambda: "ready\n" in arrival.kit.consumer_log(app)[-6:], 60)
    log = arrival.kit.consumer_log(app)
    for file in arrival.served.files:
        assert f"{file.sha256}  ./{file.path}" in log


def test_no_byte_was_fetched_twice(arrival: Arrival) -> None:
    copies = len(arrival.kit.platform.node_names)
    probes = len(arrival.served.files)
    assert arrival.served.sent() <= copies * arrival.served.size + probes


def test_the_columns_say_it_all(arrival: Arrival) -> None:
    lines = arrival.kit.kubectl("get", "ma").splitlines()
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


def test_the_turning_points_are_told_as_events(arrival: Arrival) -> None:
    reasons = [reason for reason, _ in arrival.kit.events("chattts")]
    assert reasons[0] == "Resolved"
    assert reasons.count("NodeReady") == len(arrival.kit.platform.node_names)
    assert reasons[-1] == "Ready"


def test_a_finished_download_leaves_no_pod(arrival: Arrival) -> None:
    assert arrival.kit.pods("chattts") == []
    assert arrival.kit.pods("chattts", "resolve") == []


def test_nothing_is_written_to_a_settled_artifact_for_a_minute(arrival: Arrival) -> None:
    kit = arrival.kit
    argv, environment = kit.platform.kubectl_argv(
        "-n", kit.namespace, "get", "ma", "chattts", "--watch-only", "-o", "json"
    )
    before = kit.get("ma", "chattts")["metadata"]["resourceVersion"]
    with pytest.raises(subprocess.TimeoutExpired) as watched:
        subprocess.run(argv, env=environment, timeout=60, capture_output=True, check=True)
    assert not watched.value.stdout
    assert kit.get("ma", "chattts")["metadata"]["resourceVersion"] == before
