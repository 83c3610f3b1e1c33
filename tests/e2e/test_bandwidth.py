"""Bandwidth limits as the origin measures them: initial ones, and changes during a download."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from e2e.conftest import Served
from e2e.namespace_client import NamespaceClient, artifact
from e2e.origins import MIB, files, model
from e2e.platform import Platform
from modelferry.resource import names
from origin.certs import Leaf
from origin.nginx import Nginx, Request

#: Bytes per second of the two limits: 40 and 80 Mbit/s.
LOW, HIGH = 5_000_000, 10_000_000
#: Tolerance of measured rates: the log has one line per request, whose bytes are not sent evenly, and it counts bytes
#: in the buffers of the origin's kernel. `python -m benchmarks limit` measures each second.
LEAST, MOST = 0.5, 1.3


def rate(requests: Sequence[Request], begin: float, end: float) -> float:
    """Bytes per second from `begin` to `end`, if the bytes of each request are sent evenly."""
    bytes_ = 0.0
    for request in requests:
        duration = max(request.seconds, 0.001)  # the log has integer milliseconds, and small parts take less than one
        overlap = min(end, request.time) - max(begin, request.time - duration)
        bytes_ += request.sent * max(0.0, overlap) / duration
    return bytes_ / (end - begin)


def seconds(requests: Sequence[Request], begin: float, end: float) -> list[int]:
    """Bytes of each second from `begin` to `end`."""
    return [round(rate(requests, begin + number, begin + number + 1)) for number in range(int(end - begin))]


def on_one_node(platform: Platform) -> dict[str, object]:
    """`spec.nodes` for the first node."""
    return {"selector": {"kubernetes.io/hostname": platform.node_names[0]}}


def test_a_limit_is_raised_during_a_download_in_the_same_pod(
    installed: Platform, ns: NamespaceClient, leaf: Leaf
) -> None:
    root, found = model(160 * MIB)
    with Nginx(root, leaf=leaf, host=installed.host_address) as nginx:
        served = files(nginx, found)

        def with_limit(limit: str) -> dict[str, object]:
            transfer = {"bandwidth": limit, "podNetworkBandwidth": "800Mbit"}
            return artifact("limited", served, nodes=on_one_node(installed), transfer=transfer)

        ns.apply(with_limit("40Mbit"))
        node = installed.node_names[0]
        ns.wait_bytes("limited", node, 0.15)
        (pod,) = ns.pods("limited")
        assert ns.copy("limited", node)["limitPerSecond"] == LOW
        assert "limited to 40 Mbit/s" in ns.condition("limited", "Reconciling")["message"]
        assert pod["metadata"]["annotations"]["kubernetes.io/ingress-bandwidth"] == "800000000"
        raised = time()
        ns.apply(with_limit("80Mbit"))
        ns.wait("the new limit", lambda: ns.copy("limited", node).get("limitPerSecond") == HIGH, 20)
        applied = time()
        (same,) = ns.pods("limited")
        assert same["metadata"]["uid"] == pod["metadata"]["uid"]
        ns.wait_ready("limited")
        # Without the requests of the resolve pod for one byte each.
        requests = [request for request in nginx.requests() if request.sent > 1]
    began = min(request.time - request.seconds for request in requests)
    ended = max(request.time for request in requests)
    before, after = seconds(requests, began, raised), seconds(requests, applied, ended)
    assert LEAST * LOW < rate(requests, began, raised) < MOST * LOW, before
    assert 1.2 * LOW < rate(requests, applied, ended) < MOST * HIGH, (before, after)


def test_a_mirrors_limit_is_raised_during_a_download_in_the_same_pod(
    installed: Platform, ns: NamespaceClient, leaf: Leaf
) -> None:
    root, found = model(256 * MIB)
    node = installed.node_names[0]
    with (
        Nginx(root, leaf=leaf, host=installed.host_address) as source,
        Nginx(root, leaf=leaf, host=installed.host_address) as lab,
    ):
        served = files(source, found)

        def with_limit(limit: str) -> dict[str, object]:
            mirrors = [{"name": "lab", "url": lab.url("{path}"), "bandwidth": limit}]
            return artifact("limited", served, nodes=on_one_node(installed), mirrors=mirrors)

        def speed() -> float:
            entries = ns.status("limited").get("mirrors") or []
            return float(next((entry.get("perSecond", 0) for entry in entries if entry["name"] == "lab"), 0))

        ns.apply(with_limit("40Mbit"))
        ns.wait_bytes("limited", node, 0.15)
        (pod,) = ns.pods("limited")
        assert "limitPerSecond" not in ns.copy("limited", node), "the limit is the mirror's, not the node's"
        raised = time()
        ns.apply(with_limit("80Mbit"))
        ns.wait("the mirror to be faster", lambda: speed() > 1.3 * LOW, 30)
        applied = time()
        (same,) = ns.pods("limited")
        assert same["metadata"]["uid"] == pod["metadata"]["uid"]
        ns.wait_ready("limited")
        requests = [request for request in lab.requests() if request.sent > 1]
        # Only one byte is requested from the source, for the size, although it has no limit.
        assert {request.sent for request in source.requests() if request.status == 206} == {1}
    began = min(request.time - request.seconds for request in requests)
    ended = max(request.time for request in requests)
    before, after = seconds(requests, began, raised), seconds(requests, applied, ended)
    assert LEAST * LOW < rate(requests, began, raised) < MOST * LOW, before
    assert 1.2 * LOW < rate(requests, applied, ended) < MOST * HIGH, (before, after)


def test_a_window_pauses_a_download_which_resumes_at_its_end(
    ns: NamespaceClient, installed: Platform, small: Served
) -> None:
    node = installed.node_names[0]
    pause = [{"from": "00:00", "to": "00:00", "pause": True}]
    paused = {"connections": 4, "windows": pause}
    ns.apply(artifact("night", small.source, nodes=on_one_node(installed), transfer=paused))
    ns.wait("the pause", lambda: ns.copy("night", node).get("state") == "Paused", 60)
    working = ns.condition("night", "Reconciling")
    assert working["reason"] == "Paused"
    assert "(window daily 00:00-00:00 UTC)" in working["message"]
    assert not ns.condition("night", "Stalled")
    (pod,) = ns.pods("night")
    assert names.ANNOTATION_LIMITS in pod["metadata"]["annotations"]
    ns.apply(artifact("night", small.source, nodes=on_one_node(installed), transfer={"connections": 4}))
    ns.wait_ready("night")
    assert not ns.condition("night", "Reconciling")
