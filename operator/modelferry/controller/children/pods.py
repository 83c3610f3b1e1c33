"""The pods: resolve and fetch in the artifact's namespace (Pod Security `restricted`, no API token), prepare and remove
in the operator's own (root with a hostPath: the only ones)."""

from __future__ import annotations

from typing import Any

from modelferry.controller.children import config_maps, volumes
from modelferry.controller.children.metadata import labels, metadata
from modelferry.controller.facts import Object, Observed
from modelferry.controller.settings import Settings
from modelferry.messages.progress import PORT
from modelferry.resource import names
from modelferry.resource.bandwidth_limits import live
from modelferry.resource.spec import ExistingClaim, Toleration, bundles_of, secrets_of, service_account_of
from modelferry.resource.transfer import BundleReference

#: The user and group of all download pods, and the owner of the directory on a node.
UID = 65532

_INPUT, _MANIFEST, _BUNDLE = "/etc/modelferry/input", "/etc/modelferry/manifest", "/etc/modelferry/bundle"
_SECRETS, _LIMITS = "/etc/modelferry/secrets", "/etc/modelferry/limits"
#: What the bandwidth plugin of the container network goes by, in bits per second.
_INGRESS = "kubernetes.io/ingress-bandwidth"
_RUN, _DATA = "/run/modelferry", "/data"
_OUTCOME = "/dev/termination-log"

#: A helper makes one directory or removes one: it must be admitted on a node that is nearly full.
_HELPER_RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}

_RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def node_hash(node: str) -> str:
    """What stands for a node in a pod's name."""
    return names.fingerprint(node)


def resolve_pod(seen: Observed, settings: Settings, attempt: int) -> Object:
    """Asks the source what there is and prints the manifest."""
    key = config_maps.input_key(seen, settings)
    arguments = ["agent", "resolve", "--artifact", f"{_INPUT}/{config_maps.ARTIFACT_KEY}", "--outcome", _OUTCOME]
    arguments += [*_ca(seen, settings), *_secrets(seen, settings)]
    mounts = [_mount("input", _INPUT), *_bundle_mounts(seen), *_secret_mounts(seen, settings)]
    container = _container(settings, "resolve", arguments, mounts) | _proxy(seen, settings)
    volumes_ = [_input(seen, settings), *_bundle_volumes(seen), *_secret_volumes(seen, settings)]
    spec = _tenant(settings) | _account(seen) | {"containers": [container], "volumes": volumes_}
    return _pod(seen, f"{seen.name}-resolve-{key}-{attempt}", "resolve", "", key, attempt, spec)


def fetch_pod(seen: Observed, settings: Settings, node: str, attempt: int) -> Object:
    """Fetches the model: onto `node`, or into the existing claim where `node` is empty."""
    assert seen.artifact is not None
    storage = seen.artifact.spec.storage
    claim = storage.name if isinstance(storage, ExistingClaim) else names.writer_claim(seen.name)
    data = f"{_DATA}/{seen.name}" if isinstance(storage, ExistingClaim) else _DATA
    key = config_maps.input_key(seen, settings)
    spec = _tenant(settings) | _account(seen)
    spec |= {
        "initContainers": [_checkpoint(settings, data)],
        "containers": [_fetch(seen, settings)],
        "volumes": [
            _input(seen, settings),
            *_bundle_volumes(seen),
            *_secret_volumes(seen, settings),
            {"name": "manifest", "configMap": {"name": config_maps.manifest_name(seen)}},
            _limits_volume(),
            {"name": "run", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
        ],
    }
    if node:
        spec |= {"affinity": _on(node), "tolerations": [_toleration(t) for t in seen.artifact.spec.nodes.tolerations]}
    name = f"{seen.name}-fetch-{node_hash(node) if node else 'claim'}-{key}-{attempt}"
    body = _pod(seen, name, "fetch", node, key, attempt, spec)
    body["metadata"]["annotations"] |= _allowed(seen, settings)
    return body


def limits_of(seen: Observed) -> str:
    """What the limits' annotation of a download pod says."""
    return live(seen.document["spec"])


def _allowed(seen: Observed, settings: Settings) -> dict[str, str]:
    """What it may receive. Its share of the cluster's bandwidth is nothing until it is given one: `sharing`."""
    assert seen.artifact is not None
    notes = {names.ANNOTATION_LIMITS: limits_of(seen)}
    if settings.bandwidth is not None:
        notes[names.ANNOTATION_SHARE] = "0"
    if (rate := seen.artifact.spec.transfer.pod_network) is not None:
        notes[_INGRESS] = str(rate * 8)
    return notes


def helper_pod(seen: Observed, settings: Settings, role: str, node: str, attempt: int) -> Object:
    """Makes (`role` prepare) or removes (`role` remove) the artifact's directory on `node`."""
    arguments = ["agent", role, "--root", "/node", "--path", volumes.directory(seen), "--outcome", _OUTCOME]
    arguments += ["--uid", str(UID), "--gid", str(UID)] if role == "prepare" else []
    container = _container(settings, role, arguments, [_mount("node", "/node", read_only=False)])
    container["resources"] = _HELPER_RESOURCES
    container["securityContext"] = _RESTRICTED | {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]},
    }
    spec = _common(settings) | {
        "nodeName": node,  # not by the scheduler: a directory is made and removed on a cordoned or full node too
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "node", "hostPath": {"path": settings.node_root, "type": "DirectoryOrCreate"}}],
    }
    name = f"{role}-{names.fingerprint([seen.uid, node], 12)}-{attempt}"
    body = _pod(seen, name, role, node, "", attempt, spec)
    body["metadata"] |= {"namespace": settings.namespace, "labels": labels(seen, role)}
    del body["metadata"]["ownerReferences"]  # an owner may not stand in another namespace; the plan removes it
    return body


def _pod(seen: Observed, name: str, role: str, node: str, key: str, attempt: int, spec: Object) -> Object:
    notes = {names.ANNOTATION_NODE: node, names.ANNOTATION_KEY: key, names.ANNOTATION_ATTEMPT: str(attempt)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(seen, name, role, notes), "spec": spec}


def _common(settings: Settings) -> dict[str, Any]:
    secrets = [{"name": name} for name in settings.pull_secrets]
    return {
        "restartPolicy": "Never",  # the plan decides about another attempt; see docs/decisions
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
    } | ({"imagePullSecrets": secrets} if secrets else {})


def _tenant(settings: Settings) -> dict[str, Any]:
    security = {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,  # Secrets are mounted for this group alone, and a claim may belong to root
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return _common(settings) | {"securityContext": security}


def _container(settings: Settings, name: str, arguments: list[str], mounts: list[Object]) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": arguments,
        "resources": dict(settings.agent_resources),
        "securityContext": dict(_RESTRICTED),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # a crash leaves its last words in the pod's status
        "volumeMounts": mounts,
    }


def _fetch(seen: Observed, settings: Settings) -> Object:
    arguments = [
        "agent", "fetch", "--artifact", f"{_INPUT}/{config_maps.ARTIFACT_KEY}",
        "--manifest", f"{_MANIFEST}/{config_maps.MANIFEST_KEY}", "--socket", f"{_RUN}/checkpoint.sock",
        "--limits", _LIMITS, "--outcome", _OUTCOME, *_ca(seen, settings), *_secrets(seen, settings),
    ]  # fmt: skip
    mounts = [*_work_mounts(), _mount("limits", _LIMITS), *_bundle_mounts(seen), *_secret_mounts(seen, settings)]
    return _container(settings, "fetch", arguments, mounts) | _proxy(seen, settings)


def _checkpoint(settings: Settings, data: str) -> Object:
    arguments = [
        "agent", "checkpoint", "--data", data, "--manifest", f"{_MANIFEST}/{config_maps.MANIFEST_KEY}",
        "--socket", f"{_RUN}/checkpoint.sock", "--port", str(PORT),
    ]  # fmt: skip
    probe = {"httpGet": {"path": "/healthz", "port": "progress"}, "periodSeconds": 1, "failureThreshold": 60}
    return _container(settings, "checkpoint", arguments, _work_mounts()) | {
        "restartPolicy": "Always",  # a native sidecar (KEP-753): started before fetch, ended after it
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
    """Two annotations of the pod as files, which the kubelet writes anew when they change; one that is not there makes
    an empty file. Named as `agent.limits` reads them."""
    files = {"limits": names.ANNOTATION_LIMITS, "share": names.ANNOTATION_SHARE}
    items = [
        {"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{note}']"}}
        for path, note in files.items()
    ]
    return {"name": "limits", "downwardAPI": {"items": items}}


def _input(seen: Observed, settings: Settings) -> Object:
    return {"name": "input", "configMap": {"name": config_maps.input_name(seen, settings)}}


def _ca(seen: Observed, settings: Settings) -> list[str]:
    files = [f"{_INPUT}/{config_maps.CA_KEY}"] if settings.trusted_ca else []
    files += [f"{_BUNDLE}/{config_maps.CA_KEY}"] if "" in _bundles(seen) else []
    words = [word for file in files for word in ("--ca-file", file)]
    mirrors = [mirror for mirror in _bundles(seen) if mirror]
    return words + [
        word for name in mirrors for word in ("--mirror-ca", f"{name}={_BUNDLE}-{name}/{config_maps.CA_KEY}")
    ]


def _bundles(seen: Observed) -> dict[str, BundleReference]:
    return bundles_of(seen.artifact.spec) if seen.artifact else {}


def _suffix(mirror: str) -> str:
    return f"-{mirror}" if mirror else ""


def _bundle_mounts(seen: Observed) -> list[Object]:
    return [_mount(f"bundle{_suffix(mirror)}", f"{_BUNDLE}{_suffix(mirror)}") for mirror in _bundles(seen)]


def _bundle_volumes(seen: Observed) -> list[Object]:
    """The user's bundles. Optional: a pod without one starts, and says in the status what is missing."""
    found = []
    for mirror, bundle in _bundles(seen).items():
        items = {"items": [{"key": bundle.key, "path": config_maps.CA_KEY}], "optional": True}
        name = {"name": bundle.name} if bundle.kind == "configMap" else {"secretName": bundle.name}
        found.append({"name": f"bundle{_suffix(mirror)}", bundle.kind: name | items})
    return found


def _default_proxy(seen: Observed, settings: Settings) -> bool:
    """Whether the operator's proxy is this artifact's: the spec's own replaces all of it."""
    return bool(settings.proxy) and seen.artifact is not None and seen.artifact.spec.transfer.proxy is None


def _proxy(seen: Observed, settings: Settings) -> Object:
    if not _default_proxy(seen, settings):
        return {}
    return {"env": [{"name": name, "value": value} for name, value in sorted(settings.proxy.items())]}


def _account(seen: Observed) -> Object:
    """For a web identity alone: no token of the API is mounted, whatever the account may do there."""
    name = service_account_of(seen.artifact.spec) if seen.artifact else ""
    return {"serviceAccountName": name} if name else {}


def _secret_names(seen: Observed, settings: Settings) -> tuple[str, ...]:
    wanted = set(secrets_of(seen.artifact.spec)) if seen.artifact else set()
    if settings.proxy_secret and _default_proxy(seen, settings):
        wanted.add(settings.proxy_secret)
    return tuple(sorted(wanted))


def _secrets(seen: Observed, settings: Settings) -> list[str]:
    proxy = settings.proxy_secret if _default_proxy(seen, settings) else ""
    words = ["--secrets", _SECRETS] if _secret_names(seen, settings) else []
    return words + (["--proxy-secret", proxy] if proxy else [])


def _secret_mounts(seen: Observed, settings: Settings) -> list[Object]:
    wanted = _secret_names(seen, settings)
    return [_mount(f"secret-{number}", f"{_SECRETS}/{name}") for number, name in enumerate(wanted)]


def _secret_volumes(seen: Observed, settings: Settings) -> list[Object]:
    """Optional, as the bundle is. The sidecar, which other pods may talk to, gets none of them."""
    return [
        {"name": f"secret-{number}", "secret": {"secretName": name, "optional": True, "defaultMode": 0o440}}
        for number, name in enumerate(_secret_names(seen, settings))
    ]


def _on(node: str) -> Object:
    """Bound to one node as a DaemonSet's pods are: by the scheduler, which minds taints and volumes."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _toleration(toleration: Toleration) -> Object:
    fields = {"key": toleration.key, "operator": toleration.operator, "value": toleration.value,
              "effect": toleration.effect}  # fmt: skip
    return {name: value for name, value in fields.items() if value}
