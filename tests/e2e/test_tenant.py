"""Multi-tenancy: no privileges, no API token, no access to Secrets."""

from __future__ import annotations

import pytest

from cluster import ClusterError
from e2e.conftest import CHART, Served
from e2e.namespace_client import SYSTEM, NamespaceClient, artifact
from e2e.platform import Platform

ACCOUNT = f"system:serviceaccount:{SYSTEM}:modelferry"


def test_download_pods_run_under_restricted_without_a_token(ns: NamespaceClient, small: Served) -> None:
    ns.apply(artifact("modest", small.source))
    ns.wait("the download pods", lambda: len(ns.pods("modest")) > 0)
    for pod in [*ns.pods("modest"), *ns.pods("modest", "resolve")]:
        mounts = [mount["mountPath"] for c in pod["spec"]["containers"] for mount in c["volumeMounts"]]
        assert "/var/run/secrets/kubernetes.io/serviceaccount" not in mounts
        assert not any("projected" in volume for volume in pod["spec"]["volumes"])
    level = ns.platform.kubectl("get", "namespace", ns.namespace, "--show-labels")
    assert "pod-security.kubernetes.io/enforce=restricted" in level


def test_the_operators_account_has_no_access_to_secrets(installed: Platform) -> None:
    allowed = installed.kubectl("auth", "can-i", "--list", f"--as={ACCOUNT}")
    assert "modelartifacts.modelferry.dev" in allowed
    assert "secrets" not in allowed
    assert "*.*" not in allowed


def test_the_operators_pod_has_a_restricted_security_context(installed: Platform) -> None:
    path = "jsonpath={.items[0].spec.containers[0].securityContext}"
    shown = installed.kubectl("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=modelferry", "-o", path)
    assert '"readOnlyRootFilesystem":true' in shown
    assert '"allowPrivilegeEscalation":false' in shown


def test_the_operators_probes_and_metrics_are_served_on_ipv6_too(installed: Platform) -> None:
    """cilium/cilium#13165: the kubelet of an IPv6 cluster had no answer from a server on 0.0.0.0."""
    urls = [f"http://{host}:{path}" for host in ("127.0.0.1", "[::1]") for path in ("8080/healthz", "8081/metrics")]
    read = f"import urllib.request as r; print([r.urlopen(url).status for url in {urls}])"
    command = ["exec", "-n", SYSTEM, "deployment/modelferry", "--", "/opt/modelferry/bin/python", "-c", read]
    assert installed.kubectl(*command).strip() == "[200, 200, 200, 200]"


def test_the_chart_passes_lint_and_refuses_invalid_values(installed: Platform) -> None:
    chart = str(CHART)
    assert "0 chart(s) failed" in installed.helm("lint", "--strict", chart)
    with pytest.raises(ClusterError, match="nodeRoot"):
        installed.helm("template", chart, "--set", "nodeRoot=relative/path")
