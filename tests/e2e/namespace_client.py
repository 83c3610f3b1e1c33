"""The operations of a test in its namespace: apply, read, wait. All of them use kubectl, as a user would."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cluster import ClusterError
from cluster.shell import wait_until
from e2e.platform import Platform
from modelferry.resource import API_VERSION, KIND, names
from modelferry.storage.layout import READY_NAME

Object = dict[str, Any]

SYSTEM = "modelferry-system"


class NamespaceClient:
    """One namespace that enforces Pod Security `restricted`, on a cluster with the operator."""

    def __init__(self, platform: Platform, namespace: str) -> None:
        self.platform, self.namespace = platform, namespace

    # --- changes ----------------------------------------------------------------------------------------------------

    def apply(self, *documents: Object) -> None:
        """kubectl apply; raises ClusterError with the API server's message if it refuses."""
        self.kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(document) for document in documents))

    def kubectl(self, *args: str, input: str | None = None, timeout: float = 120) -> str:
        """kubectl in the namespace."""
        return self.platform.kubectl("--namespace", self.namespace, *args, input=input, timeout=timeout)

    def delete(self, name: str, *, wait: bool = True, timeout: float = 90) -> None:
        """Deletes an artifact, and waits for the deletion."""
        self.kubectl("delete", "ma", name, f"--wait={str(wait).lower()}", f"--timeout={timeout:.0f}s")

    # --- reads ------------------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> Object:
        """One object; empty if it does not exist."""
        text = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return dict(json.loads(text)) if text.strip() else {}

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """Objects of the namespace."""
        chosen = ["--selector", selector] if selector else []
        return list(json.loads(self.kubectl("get", kind, *chosen, "-o", "json"))["items"])

    def status(self, name: str) -> Object:
        """An artifact's status."""
        return dict(self.get("ma", name).get("status") or {})

    def condition(self, name: str, type_: str) -> Object:
        """One condition; empty if it is not set."""
        conditions = self.status(name).get("conditions") or []
        return next((dict(condition) for condition in conditions if condition["type"] == type_), {})

    def copy(self, name: str, node: str) -> Object:
        """One copy's entry in the status; empty if there is none."""
        copies = self.status(name).get("copies") or []
        return next((dict(copy) for copy in copies if copy["name"] == node), {})

    def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of an artifact's Events, oldest first."""
        found = [event for event in self.all("events") if event["involvedObject"]["name"] == name]
        found.sort(key=lambda event: str(event["metadata"]["name"]))
        return [(event["reason"], event["message"]) for event in found]

    def pods(self, artifact: str, role: str = "fetch") -> list[Object]:
        """The pods of an artifact with a role."""
        return self.all("pods", f"{names.LABEL_ARTIFACT}={artifact},{names.LABEL_ROLE}={role}")

    def files_on_disk(self, name: str) -> dict[str, str]:
        """The SHA-256 of each file of a model on the disk of the first node, by path, without the READY marker."""
        node = self.platform.nodes.node(self.platform.node_names[0])
        current = f"/var/lib/modelferry/{self.namespace}/{name}/current/"
        files = f"find . -type f ! -name {READY_NAME} -print0"
        printed = node.exec(["sh", "-c", f"cd {current} && {files} | xargs -0 sha256sum"])
        lines = [line.split(maxsplit=1) for line in printed.splitlines()]
        return {path.removeprefix("./"): digest for digest, path in lines}

    def node_label(self, node: str, key: str) -> str | None:
        """A label of a node."""
        labels = json.loads(self.platform.kubectl("get", "node", node, "-o", "json"))["metadata"]["labels"]
        value = labels.get(key)
        return None if value is None else str(value)

    def consumer_log(self, app: str) -> str:
        """The log of a Deployment's pod."""
        return self.kubectl("logs", f"deployment/{app}", "--all-containers")

    # --- waits ------------------------------------------------------------------------------------------------------

    def wait_ready(self, name: str, timeout: float = 180) -> None:
        """kubectl wait, as in a pipeline; its error shows the current objects."""
        words = ["wait", "--for=condition=Ready", f"ma/{name}", f"--timeout={timeout:.0f}s"]
        with self._objects_in_error():
            self.kubectl(*words, timeout=timeout + 10)

    def wait_stalled(self, name: str, reason: str, timeout: float = 120) -> str:
        """Waits until the artifact is Stalled with `reason`; returns the message."""
        self.wait(f"{name} to be Stalled with {reason}", lambda: self._stalled(name) == reason, timeout)
        return str(self.condition(name, "Stalled")["message"])

    def wait(self, what: str, ready: Callable[[], bool], timeout: float = 60) -> None:
        """Waits until `ready` is true; the error shows the current objects."""
        with self._objects_in_error():
            wait_until(what, ready, timeout)

    def wait_bytes(self, name: str, node: str, share: float, timeout: float = 120) -> None:
        """Waits until `share` (0 to 1) of a copy is verified on disk."""

        def reached() -> bool:
            copy = self.copy(name, node)
            return bool(copy.get("bytesTotal")) and copy["bytesDone"] >= share * copy["bytesTotal"]

        self.wait(f"{share:.0%} of {name} on {node}", reached, timeout)

    @contextmanager
    def watching(self, name: str) -> Iterator[list[Object]]:
        """The statuses that `kubectl get -w` prints while the block runs; the list is filled at its end."""
        seen: list[Object] = []
        command = ["get", "ma", name, "--watch", "--output=json"]
        argv, environment = self.platform.kubectl_argv("--namespace", self.namespace, *command)
        with tempfile.TemporaryFile("w+") as shown:
            with subprocess.Popen(argv, env=environment, stdout=shown) as process:
                try:
                    yield seen
                finally:
                    process.terminate()
            shown.seek(0)
            seen.extend(document.get("status") or {} for document in _documents(shown.read()))

    @contextmanager
    def _objects_in_error(self) -> Iterator[None]:
        try:
            yield
        except ClusterError as error:
            error.add_note(self.kubectl("get", "ma,pods,pvc", "-o", "wide"))
            error.add_note(self.platform.kubectl("get", "pods", "-n", SYSTEM))
            error.add_note(self.kubectl("get", "ma", "-o", "yaml"))
            raise

    def _stalled(self, name: str) -> str:
        return str(self.condition(name, "Stalled").get("reason", ""))


def artifact(name: str, files: list[Object], **spec: Any) -> Object:
    """A ModelArtifact with http files."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"source": {"http": {"files": files}}} | spec,
    }


def digests(contents: Mapping[str, bytes]) -> dict[str, str]:
    """The expected result of `NamespaceClient.files_on_disk`."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}


def readable_output(ns: NamespaceClient) -> dict[str, str]:
    """Everything that can be read of this namespace and of the operator, except Secrets."""
    kinds = "ma,events,configmaps,pods,pvc,deployments"
    found = {
        "objects": ns.kubectl("get", kinds, "-o", "yaml"),
        "described": ns.kubectl("describe", "ma,pods"),
        "volumes": ns.platform.kubectl("get", "pv,nodes", "-o", "yaml"),
        "operator": ns.platform.kubectl("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=modelferry", "--tail=-1"),
    }
    for pod in ns.all("pods"):
        name = pod["metadata"]["name"]
        try:
            found[name] = ns.kubectl("logs", name, "--all-containers", "--ignore-errors", "--tail=-1")
        except ClusterError as error:
            if "not found" not in str(error):  # The operator deletes pods that have finished.
                raise
    return found


def _documents(text: str) -> list[Object]:
    """Concatenated JSON documents; an incomplete last one is ignored."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        try:
            document, at = decoder.raw_decode(text, at)
        except ValueError:
            break
        found.append(document)
        while at < len(text) and text[at].isspace():
            at += 1
    return found
