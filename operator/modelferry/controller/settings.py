"""The operator's settings, which the chart passes in the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelferry.errors import InvalidSpec
from modelferry.values.proxy_urls import proxy_error
from modelferry.values.rates import parse_rate

_PREFIX = "MODELFERRY_"
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

#: Resources of a download pod's containers. The processes need 90 MB together; the rest of the limit is page cache. The
#: CPU request is small, so that many small models fit beside each other on a node; a large one takes what is free.
_AGENT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "50m", "memory": "96Mi"},
    "limits": {"memory": "256Mi"},
}


#: Service meshes add a container that never ends to every pod that does not refuse it.
_AGENT_LABELS = {"sidecar.istio.io/inject": "false"}
_AGENT_ANNOTATIONS = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the operator.

    ``namespace``: the operator's own, where the helper pods run. ``image``: of the operator and of all its pods.
    ``node_root``: the directory on each node. ``trusted_ca``: PEM of additional authorities for all downloads.
    ``through_proxy``: request progress through the API server (for an operator outside the cluster).
    ``status_interval``: seconds between two reconciliations of a running download, and two writes of its status.
    ``bandwidth``: bytes per second of all downloads together, None for no limit.
    ``resync``: seconds after which an artifact is reconciled again without any event.
    ``metrics_port``: the port of ``/metrics``; 0 to serve none.
    ``agent_labels``, ``agent_annotations``: of all pods that it starts. ``agent_priority_class``: of the pods in the
    namespaces of artifacts, empty for the cluster's default.
    ``proxy``: http_proxy and the like for the pods of artifacts without a proxy of their own; ``proxy_secret``: the
    Secret with its credentials, in each artifact's namespace.
    ``cluster``: the uid of the namespace kube-system, which identifies the cluster; empty if it is unknown.
    ``orphans_after``: seconds after a node's registration until the directories of deleted artifacts are removed from
    it, None for never.
    """

    namespace: str
    image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    node_root: str = "/var/lib/modelferry"
    trusted_ca: str = ""
    through_proxy: bool = False
    status_interval: float = 2.0
    resync: float = 60.0
    metrics_port: int = 0
    bandwidth: int | None = None
    agent_resources: Mapping[str, Any] = field(default_factory=lambda: _AGENT_RESOURCES)
    agent_labels: Mapping[str, str] = field(default_factory=lambda: _AGENT_LABELS)
    agent_annotations: Mapping[str, str] = field(default_factory=lambda: _AGENT_ANNOTATIONS)
    agent_priority_class: str = ""
    proxy: Mapping[str, str] = field(default_factory=dict)
    proxy_secret: str = ""
    cluster: str = ""
    orphans_after: float | None = None


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in MODELFERRY_*; raises InvalidSpec that names what is missing or invalid."""

    def value(name: str, default: str = "") -> str:
        return environment.get(_PREFIX + name, "") or default

    image = value("IMAGE")
    if not image:
        raise InvalidSpec(f"{_PREFIX}IMAGE is not set: set it to the image of the download pods, as the chart does")
    ca_file, bandwidth = value("TRUSTED_CA_FILE"), value("BANDWIDTH")
    try:
        return Settings(
            namespace=value("NAMESPACE", "modelferry-system"),
            image=image,
            pull_policy=value("IMAGE_PULL_POLICY", "IfNotPresent"),
            pull_secrets=tuple(name for name in value("IMAGE_PULL_SECRETS").split(",") if name),
            node_root=value("NODE_ROOT", "/var/lib/modelferry"),
            trusted_ca=Path(ca_file).read_text() if ca_file else "",
            through_proxy=value("PROGRESS", "proxy" if "KUBERNETES_SERVICE_HOST" not in environment else "direct")
            == "proxy",
            status_interval=float(value("STATUS_INTERVAL", "2")),
            resync=float(value("RESYNC", "60")),
            metrics_port=int(value("METRICS_PORT", "0")),
            bandwidth=parse_rate(bandwidth) if bandwidth else None,
            agent_resources=json.loads(value("AGENT_RESOURCES", json.dumps(_AGENT_RESOURCES))),
            agent_labels=_texts("AGENT_LABELS", value("AGENT_LABELS", json.dumps(_AGENT_LABELS))),
            agent_annotations=_texts("AGENT_ANNOTATIONS", value("AGENT_ANNOTATIONS", json.dumps(_AGENT_ANNOTATIONS))),
            agent_priority_class=value("AGENT_PRIORITY_CLASS"),
            proxy=_proxy(environment, value("PROXY"), value("NO_PROXY")),
            proxy_secret=value("PROXY_SECRET"),
            orphans_after=float(value("ORPHANS_AFTER")) if value("ORPHANS_AFTER") else None,
        )
    except (ValueError, OSError) as error:
        raise InvalidSpec(f"the operator's settings in {_PREFIX}*: {error}") from error


def _texts(name: str, text: str) -> dict[str, str]:
    """A JSON object of strings: the API server rejects a pod whose label is a number or a boolean."""
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f'{_PREFIX}{name} is not a JSON object of strings: write {{"key": "value"}}')
    return found


def _proxy(environment: Mapping[str, str], url: str, no_proxy: str) -> dict[str, str]:
    """The proxy variables of pods: from the chart, or else from the operator's own environment.

    Everyone who may read a pod can read its environment, so credentials are accepted in a Secret only.
    """
    if url:
        found = {"http_proxy": url, "https_proxy": url, "no_proxy": no_proxy}
    else:
        found = {name: environment.get(name) or environment.get(name.upper(), "") for name in _PROXY_VARIABLES}
    found = {name: text for name, text in found.items() if text}
    for name, text in found.items():
        named = text if "://" in text else f"http://{text}"
        if name != "no_proxy" and (error := proxy_error(named)):
            message = error.replace("auth.secretRef", "the chart's proxy.secretName")
            raise ValueError(f"{'PROXY' if url else name} {message}")
    return found if set(found) - {"no_proxy"} else {}
