"""The pods that the operator creates."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelferry.controller.children import config_maps, pods, volumes
from modelferry.controller.settings import Settings
from modelferry.resource import names
from unit.controller.objects import MANIFEST, SETTINGS, document, observed

ARTIFACT = observed().artifact
TENANT = [pods.resolve_pod(ARTIFACT, SETTINGS, 1), pods.fetch_pod(ARTIFACT, SETTINGS, "node-0", 1)]


@pytest.mark.parametrize("pod", TENANT)
def test_a_pod_in_a_tenants_namespace_has_no_token_and_no_privilege(pod: dict[str, dict[str, object]]) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    security = spec["securityContext"]
    assert isinstance(security, dict)
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["fsGroup"] == security["runAsGroup"], "a Secret of mode 0440 could not be read"
    assert "hostPath" not in json.dumps(spec)
    containers = [*spec.get("initContainers", []), *spec["containers"]]  # type: ignore[misc]
    for container in containers:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_checkpoint_is_a_native_sidecar_that_starts_before_fetch() -> None:
    sidecar = pods.fetch_pod(ARTIFACT, SETTINGS, "node-0", 1)["spec"]["initContainers"][0]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (None, []),
        ("plain", []),
        (
            "both",
            ["--layout", "both", "--hub-folder", "models--2Noise--ChatTTS", "--hub-ref", "main", "--hub-ref", "v1"],
        ),
    ],
)
def test_the_checkpoint_is_told_the_layout(layout: str | None, words: list[str]) -> None:
    source = {"huggingFace": {"repo": "2Noise/ChatTTS", "revision": "v1"}}
    artifact = observed(document({"source": source} | ({"layout": layout} if layout else {}))).artifact
    arguments = pods.fetch_pod(artifact, SETTINGS, "node-0", 1)["spec"]["initContainers"][0]["args"]
    assert arguments[arguments.index("--port") + 2 :] == words


HUB = {"secretRef": {"name": "hub"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"auth": HUB},
        {"transfer": {"tls": {"clientCertificate": HUB}}},
        {"mirrors": [{"name": "m", "url": "https://m/{path}", "tls": {"clientCertificate": HUB}}]},
    ],
)
def test_secrets_are_mounted_into_resolve_and_fetch_only(fields: dict[str, Any]) -> None:
    artifact = observed(document(fields)).artifact
    mount = {"name": "secret-0", "mountPath": "/etc/modelferry/secrets/hub", "readOnly": True}
    fetch = pods.fetch_pod(artifact, SETTINGS, "node-0", 1)["spec"]
    (resolve,) = pods.resolve_pod(artifact, SETTINGS, 1)["spec"]["containers"]
    for container in (resolve, *fetch["containers"]):
        assert mount in container["volumeMounts"]
        assert container["args"][-2:] == ["--secrets", "/etc/modelferry/secrets"]
    assert mount not in fetch["initContainers"][0]["volumeMounts"]
    volume = {"secretName": "hub", "optional": True, "defaultMode": 0o440}
    assert {"name": "secret-0", "secret": volume} in fetch["volumes"]
    for spec in (fetch, pods.resolve_pod(artifact, SETTINGS, 1)["spec"]):
        assert (
            spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsUser"]
        )  # 0440, for root and the group


def test_the_pods_run_as_the_account_of_a_web_identity_and_get_no_api_token() -> None:
    artifact = observed(document({"source": {"s3": {"bucket": "models", "serviceAccountName": "reader"}}})).artifact
    for pod in (pods.resolve_pod(artifact, SETTINGS, 1), pods.fetch_pod(artifact, SETTINGS, "node-0", 1)):
        assert pod["spec"]["serviceAccountName"] == "reader"
        assert pod["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pods.helper_pod(artifact, SETTINGS, "prepare", "node-0", 1)["spec"]


PROXIED = replace(SETTINGS, proxy={"https_proxy": "http://p:3128", "no_proxy": ".svc"}, proxy_secret="egress")


def connecting(body: dict[str, object] | None, settings: Settings) -> list[dict[str, Any]]:
    """The containers that connect to sources."""
    artifact = observed(body).artifact
    found = [pods.resolve_pod(artifact, settings, 1), pods.fetch_pod(artifact, settings, "node-0", 1)]
    return [pod["spec"]["containers"][0] for pod in found]


def test_containers_that_connect_get_the_operators_proxy() -> None:
    mount = {"name": "secret-0", "mountPath": "/etc/modelferry/secrets/egress", "readOnly": True}
    for container in connecting(None, PROXIED):
        assert container["env"] == [
            {"name": "https_proxy", "value": "http://p:3128"},
            {"name": "no_proxy", "value": ".svc"},
        ]
        assert container["args"][-4:] == ["--secrets", "/etc/modelferry/secrets", "--proxy-secret", "egress"]
        assert mount in container["volumeMounts"]
    sidecar = pods.fetch_pod(ARTIFACT, PROXIED, "node-0", 1)["spec"]["initContainers"][0]
    assert "env" not in sidecar
    assert mount not in sidecar["volumeMounts"]


def test_an_artifacts_own_proxy_replaces_the_operators_completely() -> None:
    own = {"url": "http://own:3128", "auth": {"secretRef": {"name": "own"}}}
    for container in connecting(document({"transfer": {"proxy": own}}), PROXIED):
        assert "env" not in container
        assert "--proxy-secret" not in container["args"]
        assert [mount["mountPath"] for mount in container["volumeMounts"] if "secret" in mount["name"]] == [
            "/etc/modelferry/secrets/own"
        ]


def test_a_helper_runs_in_the_operators_namespace_on_any_node() -> None:
    helper = pods.helper_pod(ARTIFACT, SETTINGS, "remove", "node-0", 2)
    assert helper["metadata"]["namespace"] == SETTINGS.namespace
    assert "ownerReferences" not in helper["metadata"]
    assert helper["spec"]["nodeName"] == "node-0"
    assert helper["spec"]["tolerations"] == [{"operator": "Exists"}]


def test_pods_that_connect_get_the_trusted_authorities() -> None:
    settings = Settings("modelferry-system", "modelferry:test", trusted_ca="-----BEGIN CERTIFICATE-----")
    assert config_maps.input_map(ARTIFACT, settings)["data"][config_maps.CA_KEY] == settings.trusted_ca
    for pod in (pods.resolve_pod(ARTIFACT, settings, 1), pods.fetch_pod(ARTIFACT, settings, "n", 1)):
        assert "/etc/modelferry/input/ca.crt" in pod["spec"]["containers"][0]["args"]


def test_an_existing_claim_contains_the_model_under_the_artifacts_name() -> None:
    artifact = observed(document({"storage": {"claim": {"name": "models"}}})).artifact
    spec = pods.fetch_pod(artifact, SETTINGS, "", 1)["spec"]
    assert spec["volumes"][-1]["persistentVolumeClaim"]["claimName"] == "models"
    assert "/data/chattts" in spec["initContainers"][0]["args"]
    assert "affinity" not in spec


def all_pods(body: dict[str, Any] | None, settings: Settings) -> list[dict[str, Any]]:
    """One pod of each role, and the download into a claim."""
    artifact = observed(body).artifact
    helpers = [pods.helper_pod(artifact, settings, role, "node-0", 1) for role in ("prepare", "remove")]
    downloads = [pods.fetch_pod(artifact, settings, node, 1) for node in ("node-0", "")]
    return [pods.resolve_pod(artifact, settings, 1), *downloads, *helpers]


def test_every_pod_refuses_the_sidecars_of_service_meshes() -> None:
    """istio/istio#11045: an injected proxy never ends."""
    for pod in all_pods(None, SETTINGS):
        assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
        assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
        assert pod["metadata"]["annotations"]["linkerd.io/inject"] == "disabled"


def test_the_charts_labels_and_annotations_are_on_every_pod_and_replace_none_of_ours() -> None:
    more = {"team": "speech", names.LABEL_ARTIFACT: "planted", names.ANNOTATION_ATTEMPT: "planted"}
    for pod in all_pods(None, replace(SETTINGS, agent_labels=more, agent_annotations=more)):
        assert pod["metadata"]["labels"]["team"] == pod["metadata"]["annotations"]["team"] == "speech"
        assert pod["metadata"]["labels"][names.LABEL_ARTIFACT] == "chattts"
        assert pod["metadata"]["annotations"][names.ANNOTATION_ATTEMPT] == "1"


def test_every_pod_tolerates_the_taints_that_the_artifact_tolerates() -> None:
    """kserve/kserve#5348, LLMKube#1621: every node is tainted, and the resolve pod has no toleration."""
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    for pod in all_pods(document({"nodes": {"tolerations": [toleration]}}), SETTINGS):
        assert pod["spec"]["tolerations"] in ([toleration], [{"operator": "Exists"}])


def test_pods_in_a_tenants_namespace_get_the_charts_priority_class() -> None:
    for pod in all_pods(None, replace(SETTINGS, agent_priority_class="downloads")):
        helper = pod["metadata"]["namespace"] == SETTINGS.namespace
        assert pod["spec"].get("priorityClassName") == (None if helper else "downloads")
    assert all("priorityClassName" not in pod["spec"] for pod in all_pods(None, SETTINGS))


def test_the_pod_of_a_claim_runs_on_a_node_that_the_artifact_selects() -> None:
    """pravega/zookeeper-operator#311: a volume that is bound for its first pod's node must suit the consumers."""
    key = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    nodes = {"selector": {"gpu": "true"}, "tolerations": [key]}
    artifact = observed(document({"storage": {"claim": {"name": "models"}}, "nodes": nodes})).artifact
    spec = pods.fetch_pod(artifact, SETTINGS, "", 1)["spec"]
    assert spec["nodeSelector"] == {"gpu": "true"}
    assert spec["tolerations"] == [key]


def test_the_longest_names_stay_within_kubernetes_limits() -> None:
    artifact = observed(document(name="a" * 63, namespace="b" * 63)).artifact
    for body in (
        pods.fetch_pod(artifact, SETTINGS, "n" * 253, 99),
        pods.helper_pod(artifact, SETTINGS, "prepare", "n" * 253, 99),
        volumes.reader_volume(artifact, SETTINGS, MANIFEST),
        config_maps.input_map(artifact, SETTINGS),
    ):
        assert len(body["metadata"]["name"]) <= 253
        assert all(len(value) <= 63 for value in body["metadata"].get("labels", {}).values())
