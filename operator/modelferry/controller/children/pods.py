"""The pods: resolve and fetch in the artifact's namespace (Pod Security `restricted`, no API token), prepare and remove
in the operator's own (the only ones with root and a hostPath)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelferry.controller.children import config_maps, volumes
from modelferry.controller.children.metadata import labels, metadata
from modelferry.controller.facts import ArtifactFacts, Consumer, Object
from modelferry.controller.settings import Settings
from modelferry.messages.earlier_revisions import encode_windows
from modelferry.messages.owned_directories import OwnedDirectory
from modelferry.messages.progress import PORT
from modelferry.resource import hub_cache, names
from modelferry.resource.bandwidth_limits import encode_live_fields
from modelferry.resource.spec import ExistingClaim, Toleration, bundles_of, hub_cache_of, secrets_of, service_account_of
from modelferry.resource.transfer import BundleReference

#: The user and group of all download pods, and the owner of the directory on a node.
UID = 65532

_INPUT, _MANIFEST, _BUNDLE = "/etc/modelferry/input", "/etc/modelferry/manifest", "/etc/modelferry/bundle"
_SECRETS, _LIMITS = "/etc/modelferry/secrets", "/etc/modelferry/limits"
#: The annotation that the bandwidth plugin of the container network reads, in bits per second.
_INGRESS = "kubernetes.io/ingress-bandwidth"
#: The role of the pods that look for orphaned directories, and the name of their container.
ORPHANS = "orphans"
_RUN, _DATA = "/run/modelferry", "/data"
_OUTCOME = "/dev/termination-log"

#: A helper creates or removes one directory: it must be admitted on a node that is nearly full.
_HELPER_RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}

_RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def node_hash(node: str) -> str:
    """The node's part of a pod's name."""
    return names.fingerprint(node)


def resolve_pod(artifact: ArtifactFacts, settings: Settings, attempt: int) -> Object:
    """Requests the list of files from the source and logs the manifest."""
    key = artifact.input_key
    arguments = ["agent", "resolve", "--artifact", f"{_INPUT}/{config_maps.ARTIFACT_KEY}", "--outcome", _OUTCOME]
    arguments += [*_ca(artifact, settings), *_secrets(artifact, settings)]
    mounts = [_mount("input", _INPUT), *_bundle_mounts(artifact), *_secret_mounts(artifact, settings)]
    container = _container(settings, "resolve", arguments, mounts) | _proxy(artifact, settings)
    volumes_ = [_input(artifact), *_bundle_volumes(artifact), *_secret_volumes(artifact, settings)]
    spec = _tenant(artifact, settings) | {"containers": [container], "volumes": volumes_}
    return _pod(artifact, settings, f"{artifact.name}-resolve-{key}-{attempt}", "resolve", "", key, attempt, spec)


def fetch_pod(
    artifact: ArtifactFacts,
    settings: Settings,
    node: str,
    attempt: int,
    consumers: Iterable[Consumer] = (),
    boot: str = "",
) -> Object:
    """Fetches the model: onto `node`, whose fingerprint of the boot is `boot`, or into the existing claim if `node` is
    empty. What `consumers` mount is kept."""
    artifact_spec = artifact.valid_spec
    storage = artifact_spec.storage
    claim = storage.name if isinstance(storage, ExistingClaim) else names.writer_claim(artifact.name)
    data = f"{_DATA}/{artifact.name}" if isinstance(storage, ExistingClaim) else _DATA
    key = artifact.input_key
    spec = _tenant(artifact, settings) | {
        "initContainers": [_checkpoint(artifact, settings, data, consumers)],
        "containers": [_fetch(artifact, settings)],
        "volumes": [
            _input(artifact),
            *_bundle_volumes(artifact),
            *_secret_volumes(artifact, settings),
            {"name": "manifest", "configMap": {"name": config_maps.manifest_name(artifact)}},
            _limits_volume(),
            {"name": "run", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
        ],
    }
    # A claim that binds when its first pod is scheduled gets a volume where the selected nodes can mount it.
    spec |= {"affinity": _on(node)} if node else {"nodeSelector": dict(artifact_spec.nodes.selector)}
    name = f"{artifact.name}-fetch-{node_hash(node) if node else 'claim'}-{key}-{attempt}"
    body = _pod(artifact, settings, name, "fetch", node, key, attempt, spec)
    body["metadata"]["annotations"] |= _bandwidth_annotations(artifact, settings) | {names.ANNOTATION_BOOT: boot}
    return body


def limits_annotation(artifact: ArtifactFacts) -> str:
    """The value of a download pod's annotation `names.ANNOTATION_LIMITS`."""
    return encode_live_fields(artifact.document["spec"])


def _bandwidth_annotations(artifact: ArtifactFacts, settings: Settings) -> dict[str, str]:
    """Its share of the cluster's bandwidth is 0 until `bandwidth_allocator` writes one."""
    annotations = {names.ANNOTATION_LIMITS: limits_annotation(artifact)}
    if settings.bandwidth is not None:
        annotations[names.ANNOTATION_SHARE] = "0"
    if (rate := artifact.valid_spec.transfer.pod_network) is not None:
        annotations[_INGRESS] = str(rate * 8)
    return annotations


def helper_pod(
    artifact: ArtifactFacts, settings: Settings, role: str, node: str, attempt: int, boot: str = ""
) -> Object:
    """Creates (`role` prepare) or removes (`role` remove) the artifact's directory on `node`, whose fingerprint of the
    boot is `boot`."""
    arguments = ["--path", volumes.directory(artifact)]
    if role == "prepare":
        arguments += ["--uid", str(UID), "--gid", str(UID)]
        arguments += ["--owner", f"{settings.cluster}/{artifact.uid}"] if settings.cluster else []
    name = f"{role}-{names.fingerprint([artifact.uid, node], 12)}-{attempt}"
    body = _helper(settings, role, name, node, attempt, labels(artifact, role), arguments)
    body["metadata"]["annotations"][names.ANNOTATION_BOOT] = boot
    return body


def orphans_pod(settings: Settings, node: str, attempt: int, orphans: Iterable[OwnedDirectory]) -> Object:
    """Removes the directories of `orphans` from `node`, and lists those that are left."""
    arguments = ["--cluster", settings.cluster]
    arguments += [word for orphan in orphans for word in ("--remove", str(orphan))]
    name = f"{ORPHANS}-{names.fingerprint(node, 12)}-{attempt}"
    return _helper(settings, ORPHANS, name, node, attempt, orphans_labels(), arguments)


def orphans_labels() -> dict[str, str]:
    """The labels of the pods that look for orphaned directories. They belong to no artifact."""
    return dict([names.MANAGED_BY]) | {names.LABEL_ROLE: ORPHANS}


def _helper(
    settings: Settings, role: str, name: str, node: str, attempt: int, labels: dict[str, str], arguments: list[str]
) -> Object:
    """A root pod in the operator's namespace. Nobody owns it: an owner cannot be in another namespace, and the plan
    deletes it."""
    arguments = ["agent", role, "--root", "/node", "--outcome", _OUTCOME, *arguments]
    container = _container(settings, role, arguments, [_mount("node", "/node", read_only=False)])
    container["resources"] = _HELPER_RESOURCES
    container["securityContext"] = _RESTRICTED | {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]},
    }
    spec = _common(settings) | {
        "nodeName": node,  # not by the scheduler: it has to run on a cordoned or full node too
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "node", "hostPath": {"path": settings.node_root, "type": "DirectoryOrCreate"}}],
    }
    meta = {"name": name, "namespace": settings.namespace, "labels": labels,
            "annotations": _annotations(node, "", attempt)}  # fmt: skip
    return _with_chart_metadata({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, settings)


def _pod(
    artifact: ArtifactFacts, settings: Settings, name: str, role: str, node: str, key: str, attempt: int, spec: Object
) -> Object:
    meta = metadata(artifact, name, role, _annotations(node, key, attempt))
    return _with_chart_metadata({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, settings)


def _annotations(node: str, key: str, attempt: int) -> dict[str, str]:
    return {names.ANNOTATION_NODE: node, names.ANNOTATION_KEY: key, names.ANNOTATION_ATTEMPT: str(attempt)}


def _with_chart_metadata(pod: Object, settings: Settings) -> Object:
    """`pod` with the chart's labels and annotations, which replace none of ours."""
    meta = pod["metadata"]
    labels = {**settings.agent_labels, **meta["labels"]}
    annotations = {**settings.agent_annotations, **meta["annotations"]}
    return pod | {"metadata": meta | {"labels": labels, "annotations": annotations}}


def _common(settings: Settings) -> dict[str, Any]:
    secrets = [{"name": name} for name in settings.pull_secrets]
    return {
        "restartPolicy": "Never",  # the plan starts another attempt as a new pod (`pod_attempts`)
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
    } | ({"imagePullSecrets": secrets} if secrets else {})


def _tenant(artifact: ArtifactFacts, settings: Settings) -> dict[str, Any]:
    """What the pods in the artifact's namespace have in common.

    All of them tolerate what the download on a node tolerates: every node of a cluster may have that taint.
    """
    security = {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,  # Secrets are readable by this group only, and a claim may belong to root
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = _common(settings) | _account(artifact) | {"securityContext": security}
    spec |= {"tolerations": [_toleration(one) for one in artifact.valid_spec.nodes.tolerations]}
    return spec | ({"priorityClassName": settings.agent_priority_class} if settings.agent_priority_class else {})


def _container(settings: Settings, name: str, arguments: list[str], mounts: list[Object]) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": arguments,
        "resources": dict(settings.agent_resources),
        "securityContext": dict(_RESTRICTED),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # a crash leaves the end of its log in the pod's status
        "volumeMounts": mounts,
    }


def _fetch(artifact: ArtifactFacts, settings: Settings) -> Object:
    arguments = [
        "agent", "fetch", "--artifact", f"{_INPUT}/{config_maps.ARTIFACT_KEY}",
        "--manifest", f"{_MANIFEST}/{config_maps.MANIFEST_KEY}", "--socket", f"{_RUN}/checkpoint.sock",
        "--limits", _LIMITS, "--outcome", _OUTCOME, *_ca(artifact, settings), *_secrets(artifact, settings),
    ]  # fmt: skip
    mounts = [
        *_work_mounts(),
        _mount("limits", _LIMITS),
        *_bundle_mounts(artifact),
        *_secret_mounts(artifact, settings),
    ]
    return _container(settings, "fetch", arguments, mounts) | _proxy(artifact, settings)


def _checkpoint(artifact: ArtifactFacts, settings: Settings, data: str, consumers: Iterable[Consumer]) -> Object:
    arguments = [
        "agent", "checkpoint", "--data", data, "--manifest", f"{_MANIFEST}/{config_maps.MANIFEST_KEY}",
        "--socket", f"{_RUN}/checkpoint.sock", "--port", str(PORT),
        *hub_cache.to_command_line(hub_cache_of(artifact.valid_spec)),
    ]  # fmt: skip
    if windows := encode_windows(consumer.window for consumer in consumers):
        arguments += ["--mounted", windows]
    probe = {"httpGet": {"path": "/healthz", "port": "progress"}, "periodSeconds": 1, "failureThreshold": 60}
    return _container(settings, "checkpoint", arguments, _work_mounts()) | {
        "restartPolicy": "Always",  # a native sidecar (KEP-753): started before fetch, terminated after it
        "ports": [{"name": "progress", "containerPort": PORT}],
        "startupProbe": probe,
    }


def _work_mounts() -> list[Object]:
    return [
        _mount("input", _INPUT),
        _mount("manifest", _MANIFEST),
        _mount("run", _RUN, read_only=False),
        _mount("data", _DATA, read_only=False),
    ]


def _mount(name: str, path: str, *, read_only: bool = True) -> Object:
    return {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})


def _limits_volume() -> Object:
    """Two annotations of the pod as files, which the kubelet updates; a missing annotation makes an empty file. The
    names are those that `agent.bandwidth_limiter` reads."""
    files = {"limits": names.ANNOTATION_LIMITS, "share": names.ANNOTATION_SHARE}
    items = [
        {"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{note}']"}}
        for path, note in files.items()
    ]
    return {"name": "limits", "downwardAPI": {"items": items}}


def _input(artifact: ArtifactFacts) -> Object:
    return {"name": "input", "configMap": {"name": config_maps.input_name(artifact)}}


def _ca(artifact: ArtifactFacts, settings: Settings) -> list[str]:
    files = [f"{_INPUT}/{config_maps.CA_KEY}"] if settings.trusted_ca else []
    files += [f"{_BUNDLE}/{config_maps.CA_KEY}"] if "" in _bundles(artifact) else []
    arguments = [argument for file in files for argument in ("--ca-file", file)]
    for mirror in filter(None, _bundles(artifact)):
        arguments += ["--mirror-ca", f"{mirror}={_BUNDLE}-{mirror}/{config_maps.CA_KEY}"]
    return arguments


def _bundles(artifact: ArtifactFacts) -> dict[str, BundleReference]:
    return bundles_of(artifact.valid_spec)


def _suffix(mirror: str) -> str:
    return f"-{mirror}" if mirror else ""


def _bundle_mounts(artifact: ArtifactFacts) -> list[Object]:
    return [_mount(f"bundle{_suffix(mirror)}", f"{_BUNDLE}{_suffix(mirror)}") for mirror in _bundles(artifact)]


def _bundle_volumes(artifact: ArtifactFacts) -> list[Object]:
    """The user's bundles. Optional: a pod without one starts, and reports in the status what is missing."""
    found = []
    for mirror, bundle in _bundles(artifact).items():
        items = {"items": [{"key": bundle.key, "path": config_maps.CA_KEY}], "optional": True}
        name = {"name": bundle.name} if bundle.kind == "configMap" else {"secretName": bundle.name}
        found.append({"name": f"bundle{_suffix(mirror)}", bundle.kind: name | items})
    return found


def _default_proxy(artifact: ArtifactFacts, settings: Settings) -> bool:
    """Whether the artifact uses the operator's proxy: one in its spec replaces all of it."""
    return bool(settings.proxy) and artifact.valid_spec.transfer.proxy is None


def _proxy(artifact: ArtifactFacts, settings: Settings) -> Object:
    if not _default_proxy(artifact, settings):
        return {}
    return {"env": [{"name": name, "value": value} for name, value in sorted(settings.proxy.items())]}


def _account(artifact: ArtifactFacts) -> Object:
    """For a web identity only: no API token is mounted, whatever the account is allowed to do."""
    name = service_account_of(artifact.valid_spec)
    return {"serviceAccountName": name} if name else {}


def _secret_names(artifact: ArtifactFacts, settings: Settings) -> tuple[str, ...]:
    wanted = set(secrets_of(artifact.valid_spec))
    if settings.proxy_secret and _default_proxy(artifact, settings):
        wanted.add(settings.proxy_secret)
    return tuple(sorted(wanted))


def _secrets(artifact: ArtifactFacts, settings: Settings) -> list[str]:
    proxy = settings.proxy_secret if _default_proxy(artifact, settings) else ""
    arguments = ["--secrets", _SECRETS] if _secret_names(artifact, settings) else []
    return arguments + (["--proxy-secret", proxy] if proxy else [])


def _secret_mounts(artifact: ArtifactFacts, settings: Settings) -> list[Object]:
    wanted = _secret_names(artifact, settings)
    return [_mount(f"secret-{number}", f"{_SECRETS}/{name}") for number, name in enumerate(wanted)]


def _secret_volumes(artifact: ArtifactFacts, settings: Settings) -> list[Object]:
    """Optional, like the bundles. The sidecar, to which other pods can connect, mounts none of them."""
    return [
        {"name": f"secret-{number}", "secret": {"secretName": name, "optional": True, "defaultMode": 0o440}}
        for number, name in enumerate(_secret_names(artifact, settings))
    ]


def _on(node: str) -> Object:
    """Bound to one node as a DaemonSet's pods are: by the scheduler, which respects taints and volumes."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _toleration(toleration: Toleration) -> Object:
    fields = {"key": toleration.key, "operator": toleration.operator, "value": toleration.value,
              "effect": toleration.effect}  # fmt: skip
    return {name: value for name, value in fields.items() if value}
