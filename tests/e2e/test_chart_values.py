"""Chart values for all downloads: a proxy with exceptions, the bandwidth of the cluster, and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.conftest import CHART, Served, install
from e2e.namespace_client import SYSTEM, NamespaceClient, Object, artifact
from e2e.origins import MIB, files, model
from e2e.platform import Platform
from e2e.proxied_origin import ProxiedOrigin, credentials
from metrics_page import DOWNLOAD, OPERATOR, check, documented, exported
from metrics_page import values as samples
from modelferry.resource import names
from origin.certs import Leaf
from origin.nginx import Nginx, Request
from origin.proxies import USERNAME

#: Bytes per second of the cluster (80 Mbit/s), and of each of two downloads.
TOTAL = 10_000_000
HALF = TOTAL // 2
#: Tolerance: the origin's log counts some megabytes in the buffers of its kernel.
MOST = 1.1

SECRET = "egress"


@pytest.fixture(scope="module", autouse=True)
def defaults(installed: Platform, values: dict[str, Any], proxied_origin: ProxiedOrigin) -> Iterator[None]:
    """The operator with a proxy, a bandwidth and a metrics Service; the values are restored afterwards."""
    proxy = {"url": proxied_origin.squid.url, "noProxy": [installed.host_address], "secretName": SECRET}
    more = {"proxy": proxy, "transfer": {"bandwidth": "80Mbit"}, "metrics": {"service": True}}
    install(installed, values | more)
    yield
    install(installed, values)


def on_first_node(ns: NamespaceClient, name: str, found: list[dict[str, Any]], **spec: Any) -> Object:
    """An artifact for one node."""
    return artifact(name, found, nodes={"selector": {"kubernetes.io/hostname": ns.platform.node_names[0]}}, **spec)


# --- proxy ----------------------------------------------------------------------------------------------------------


def test_the_operators_proxy_is_the_default_of_all_artifacts(
    installed: Platform, ns: NamespaceClient, proxied_origin: ProxiedOrigin, leaf: Leaf, tmp_path: Path
) -> None:
    credentials(ns, SECRET)
    (tmp_path / "a.bin").write_bytes(b"near" * 1000)
    with Nginx(tmp_path, leaf=leaf, host=installed.host_address) as near:
        own = {"proxy": {"url": proxied_origin.dante.url, "auth": {"secretRef": {"name": SECRET}}}}
        ns.apply(
            on_first_node(ns, "far", proxied_origin.small),
            on_first_node(ns, "near", [{"path": "a.bin", "url": near.url("a.bin")}]),
        )
        ns.wait_ready("far")
        ns.wait_ready("near")
        assert f"CONNECT {proxied_origin.address} {USERNAME}" in proxied_origin.squid.log
        assert [request.status for request in near.requests()]
        assert f":{near.port} " not in proxied_origin.squid.log
    tunnels = proxied_origin.squid.log.count("CONNECT")
    ns.apply(on_first_node(ns, "other-proxy", proxied_origin.small, transfer=own))
    ns.wait_ready("other-proxy")
    assert f"username%{USERNAME}@" in proxied_origin.dante.log
    assert proxied_origin.squid.log.count("CONNECT") == tunnels


def test_a_missing_secret_and_a_wrong_password_of_the_operators_proxy_are_reported(
    ns: NamespaceClient, proxied_origin: ProxiedOrigin
) -> None:
    requests = len(proxied_origin.nginx.requests())
    ns.apply(on_first_node(ns, "unmade", proxied_origin.small))
    message = ns.wait_stalled("unmade", "SecretMissing")
    assert f"the operator's proxy.secretName: there is no Secret '{SECRET}'" in message
    credentials(ns, SECRET, "planted-wrong")
    ns.apply(on_first_node(ns, "wrong", proxied_origin.small))
    assert f"the proxy {proxied_origin.squid.url} does not accept" in ns.wait_stalled("wrong", "ProxyDenied")
    assert "planted-wrong" not in ns.kubectl("get", "ma,pods,configmaps,events", "-o", "yaml")
    assert len(proxied_origin.nginx.requests()) == requests


# --- bandwidth ------------------------------------------------------------------------------------------------------


def fetching(nginx: Nginx) -> list[Request]:
    """The requests without those of the resolve pod for one byte each."""
    return [request for request in nginx.requests() if request.sent > 1]


def test_downloads_share_the_clusters_bandwidth_and_release_it(
    installed: Platform, ns: NamespaceClient, leaf: Leaf
) -> None:
    credentials(ns, SECRET)
    first, second = installed.node_names[:2]
    (short_root, short), (long_root, long) = model(64 * MIB), model(160 * MIB)
    with (
        Nginx(short_root, leaf=leaf, host=installed.host_address) as one,
        Nginx(long_root, leaf=leaf, host=installed.host_address) as other,
    ):
        ns.apply(
            artifact("short", files(one, short), nodes={"selector": {"kubernetes.io/hostname": first}}),
            artifact("long", files(other, long), nodes={"selector": {"kubernetes.io/hostname": second}}),
        )

        def limits() -> list[int | None]:
            return [ns.copy(name, node).get("limitPerSecond") for name, node in (("short", first), ("long", second))]

        ns.wait("each to have half of the bandwidth", lambda: limits() == [HALF, HALF], 60)
        ns.wait_ready("short")
        ns.wait("the other to have the entire bandwidth", lambda: limits()[1] == TOTAL, 30)
        assert ns.copy("long", second)["bytesDone"] < sum(file.size for file in long)
        ns.wait_ready("long")
        requests = [*fetching(one), *fetching(other)]
    began = min(request.time - request.seconds for request in requests)
    ended = max(request.time for request in requests)
    sent = sum(request.sent for request in requests)
    assert sent >= sum(file.size for file in [*short, *long])
    assert sent <= MOST * TOTAL * (ended - began)


# --- metrics --------------------------------------------------------------------------------------------------------


def of_operator(platform: Platform) -> str:
    """The metrics of the operator, through the chart's Service."""
    service = f"/api/v1/namespaces/{SYSTEM}/services/modelferry-metrics:metrics/proxy/metrics"
    return platform.kubectl("get", "--raw", service)


def of_download(ns: NamespaceClient, name: str) -> str:
    """The metrics of the download pod of an artifact."""
    (pod,) = ns.pods(name)
    path = f"/api/v1/namespaces/{ns.namespace}/pods/{pod['metadata']['name']}:9440/proxy/metrics"
    return ns.platform.kubectl("get", "--raw", path)


def summed(platform: Platform, field: str, part: str) -> float:
    """The sum of a number in the status over all artifacts of the cluster."""
    found = json.loads(platform.kubectl("get", "ma", "--all-namespaces", "-o", "json"))["items"]
    return float(sum((one.get("status") or {}).get(field, {}).get(part, 0) for one in found))


def test_the_metrics_are_those_of_the_documentation_while_a_mirror_fails(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, small: Served
) -> None:
    credentials(ns, SECRET)
    before = samples(of_operator(installed))["modelferry_source_fallbacks_total"]
    node = installed.node_names[0]
    root, found = model(256 * MIB)
    with Nginx(root, leaf=leaf, host=installed.host_address) as lab:
        mirrors = [{"name": "lab", "url": lab.url("{path}"), "probe": {"interval": "2s"}}]
        ns.apply(on_first_node(ns, "speech", files(small.nginx, found), mirrors=mirrors))
        ns.wait_bytes("speech", node, 0.05)
        running = of_download(ns, "speech")
        assert exported(running) == [(name, kind) for name, kind, _, _ in documented(DOWNLOAD)]
        check(running)
        metrics = samples(running)
        assert metrics["modelferry_model_bytes"] == small.size
        assert 0 < metrics["modelferry_verified_bytes"] <= metrics["modelferry_fetched_bytes_total"]
        assert metrics['modelferry_mirror_state{mirror="lab",state="Up"}'] == 1
        assert metrics['modelferry_mirror_fallbacks_total{mirror="source"}'] == 0

    def fell_back() -> bool:
        return samples(of_download(ns, "speech"))['modelferry_mirror_fallbacks_total{mirror="source"}'] == 1

    ns.wait("the download to count the fallback", fell_back, 30)
    after = samples(of_download(ns, "speech"))
    assert after['modelferry_mirror_state{mirror="lab",state="Down"}'] == 1
    ns.wait(
        "the operator to count it",
        lambda: samples(of_operator(installed))["modelferry_source_fallbacks_total"] == before + 1,
    )
    everything = of_operator(installed)
    assert exported(everything) == [(name, kind) for name, kind, _, _ in documented(OPERATOR)]
    check(everything)
    assert samples(everything)['modelferry_mirrors{state="Down"}'] >= 1
    ns.wait_ready("speech")

    def agrees() -> bool:
        seen = samples(of_operator(installed))
        return (
            seen["modelferry_wanted_bytes"] == summed(installed, "bytes", "total") >= small.size
            and seen["modelferry_verified_bytes"] == summed(installed, "bytes", "verified") >= small.size
            and seen["modelferry_ready_copies"] == summed(installed, "nodes", "ready") >= 1
        )

    ns.wait("the operator to export the sum of all artifacts", agrees)


def test_pod_monitors_find_the_operator_and_the_downloads(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    credentials(ns, SECRET)
    options = ["--kube-version", "1.29", "--set", "metrics.podMonitor=true"]
    rendered = installed.helm("template", "modelferry", CHART, "--namespace", SYSTEM, *options)
    documents = [document for document in yaml.safe_load_all(rendered) if document]
    monitors = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "PodMonitor"}
    assert set(monitors) == {"modelferry", "modelferry-downloads"}
    ns.apply(on_first_node(ns, "speech", small.source))
    ns.wait("the download pod", lambda: len(ns.pods("speech")) > 0)
    for name, namespace in (("modelferry", SYSTEM), ("modelferry-downloads", ns.namespace)):
        labels = ",".join(f"{key}={value}" for key, value in monitors[name]["selector"]["matchLabels"].items())
        listed = installed.kubectl("get", "pods", "-n", namespace, "-l", labels, "-o", "json")
        found = json.loads(listed)["items"]
        assert len(found) == 1
        (endpoint,) = monitors[name]["podMetricsEndpoints"]
        spec = found[0]["spec"]
        ports = [
            port["name"]
            for one in [*spec.get("initContainers", []), *spec["containers"]]
            for port in one.get("ports", [])
        ]
        assert endpoint["port"] in ports
    assert monitors["modelferry-downloads"]["podTargetLabels"] == [names.LABEL_ARTIFACT]
    assert monitors["modelferry-downloads"]["namespaceSelector"] == {"any": True}
