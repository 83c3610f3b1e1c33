"""Names and labels of everything that belongs to an artifact, derived and never stored.

Two labels of a Node are the durable record of its copies::

    <namespace>.copy.modelferry.dev/<artifact>: <boot>        a directory may exist there (set before its creation);
                                                              the value is the boot in which its copy was verified
    <namespace>.ready.modelferry.dev/<artifact>: <revision>   a verified copy of that revision is there

The reader's volume requires the second, and so the scheduler uses it. After a reboot the first no longer matches the
node's boot: the copy is verified again, because a disk may be empty then, or may have lost writes that it confirmed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from modelferry.resource import GROUP

#: A DNS subdomain (RFC 1123), the name of most objects.
DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
#: A DNS label (RFC 1123), the name of a namespace.
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

#: Our own finalizer on a ModelArtifact: nodes hold directories that no owner reference reaches.
FINALIZER = f"{GROUP}/cleanup"

MANAGED_BY = ("app.kubernetes.io/managed-by", "modelferry")
LABEL_ARTIFACT = f"{GROUP}/artifact"
LABEL_NAMESPACE = f"{GROUP}/artifact-namespace"
LABEL_ROLE = f"{GROUP}/role"
ANNOTATION_NODE = f"{GROUP}/node"
ANNOTATION_KEY = f"{GROUP}/key"
ANNOTATION_BOOT = f"{GROUP}/boot"
ANNOTATION_ATTEMPT = f"{GROUP}/attempt"
#: On a node whose directories were compared with the artifacts that exist.
CHECKED_LABEL = f"{GROUP}/checked"
#: On a download pod, shown to its container as files: the live fields of spec.transfer, and the bytes per second that
#: it gets of the cluster's bandwidth.
ANNOTATION_LIMITS = f"{GROUP}/limits"
ANNOTATION_SHARE = f"{GROUP}/share"


def ready_label(namespace: str, artifact: str) -> str:
    """The node label whose value is the verified revision."""
    return f"{namespace}.ready.{GROUP}/{artifact}"


def copy_label(namespace: str, artifact: str) -> str:
    """The node label of a directory that may exist, with the boot in which its copy was verified."""
    return f"{namespace}.copy.{GROUP}/{artifact}"


@dataclass(frozen=True, slots=True)
class NodeLabel:
    """The artifact that one of our labels on a node is for."""

    namespace: str
    artifact: str


def parse_node_label(key: str) -> NodeLabel | None:
    """The artifact of a `ready_label` or a `copy_label`; None for any other label."""
    prefix, _, artifact = key.partition("/")
    namespace, _, group = prefix.partition(".")
    ours = artifact and group in (f"ready.{GROUP}", f"copy.{GROUP}")
    return NodeLabel(namespace, artifact) if ours else None


def fingerprint(value: Any, length: int = 8) -> str:
    """Hex digits that stand for a JSON-able value in a name: 32 bits by default."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def writer_claim(artifact: str) -> str:
    """The claim that download pods mount."""
    return f"{artifact}-modelferry-writer"


def reader_claim(artifact: str) -> str:
    """The claim that inference pods mount: named as the artifact."""
    return artifact


def volume(namespace: str, artifact: str, side: str) -> str:
    """A PersistentVolume's name; ``side`` is reader or writer. The hash keeps a-b/c and a/b-c apart."""
    return f"modelferry-{namespace}-{artifact}-{fingerprint([namespace, artifact])}-{side}"
