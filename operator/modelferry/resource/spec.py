"""``spec`` of a ModelArtifact, after validation, with every default filled in."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.manifest.entries import SOURCE
from modelferry.resource.header import Header
from modelferry.resource.hub_cache import BOTH, PLAIN, HubCache
from modelferry.resource.mirror import Mirror
from modelferry.resource.object_stores import S3Source
from modelferry.resource.secret import SecretReference
from modelferry.resource.source import REPO_TYPES, HuggingFaceSource, ModelScopeSource, Source
from modelferry.resource.transfer import BundleReference, Transfer


@dataclass(frozen=True, slots=True)
class Toleration:
    """A core/v1 Toleration: an empty ``key`` with Exists tolerates every taint, an empty ``effect`` every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class MinReady:
    """How many ready copies make an artifact Ready: ``amount`` copies, or ``amount`` percent of the selected nodes."""

    amount: int = 100
    percent: bool = True

    def copies(self, selected: int) -> int:
        """The number of copies if `selected` nodes are selected. A percentage is rounded up, as in a
        PodDisruptionBudget; a number is not lowered to the number of nodes."""
        return -(-selected * self.amount // 100) if self.percent else self.amount

    def __str__(self) -> str:
        return f"{self.amount}%" if self.percent else str(self.amount)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Which nodes get the model: those whose labels hold all of ``selector`` and whose taints are tolerated; and how
    many of them make the artifact Ready."""

    selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    min_ready: MinReady = field(default_factory=MinReady)


@dataclass(frozen=True, slots=True)
class NodeLocal:
    """A directory on each chosen node, reached through a claim named as the artifact."""


@dataclass(frozen=True, slots=True)
class ExistingClaim:
    """A claim that the user created; the model is in it, in a directory named as the artifact."""

    name: str


@dataclass(frozen=True, slots=True)
class Spec:
    """All fields of ``spec``. ``auth``: the credentials for the source's servers. ``mirrors`` includes the source; it
    is empty if there is only the source. ``headers``: header fields for the source's servers. ``layout``: one of
    `LAYOUTS`; not plain only with a hub as the source."""

    source: Source
    nodes: Nodes = field(default_factory=Nodes)
    storage: NodeLocal | ExistingClaim = field(default_factory=NodeLocal)
    transfer: Transfer = field(default_factory=Transfer)
    auth: SecretReference | None = None
    mirrors: tuple[Mirror, ...] = ()
    headers: tuple[Header, ...] = ()
    layout: str = PLAIN

    @property
    def mirrored(self) -> bool:
        """Whether there is a mirror other than the source."""
        return any(mirror.name != SOURCE for mirror in self.mirrors)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A ModelArtifact's identity and spec. ``namespace`` is empty for a file on a machine without a cluster."""

    name: str
    namespace: str
    spec: Spec


def hub_cache_of(spec: Spec) -> HubCache | None:
    """The layout of what is published; None if it is plain."""
    source = spec.source
    if spec.layout == PLAIN or not isinstance(source, HuggingFaceSource | ModelScopeSource):
        return None
    repo_type = source.repo_type if isinstance(source, HuggingFaceSource) else REPO_TYPES[0]
    return HubCache.of(source.repo, repo_type, source.revision, beside_plain=spec.layout == BOTH)


def service_account_of(spec: Spec) -> str:
    """The service account that the pods which reach the source run as; empty if none is set."""
    return spec.source.service_account if isinstance(spec.source, S3Source) else ""


def secrets_of(spec: Spec) -> tuple[str, ...]:
    """The names of all Secrets that a pod needs to reach the source, the mirrors and the proxies, sorted."""
    proxies = (spec.transfer.proxy, *(mirror.proxy for mirror in spec.mirrors))
    trusts = (spec.transfer.tls, *(mirror.tls for mirror in spec.mirrors if mirror.tls))
    wanted = (spec.auth, *(proxy.auth for proxy in proxies if proxy), *(tls.client for tls in trusts))
    found = {reference.name for reference in wanted if reference is not None}
    headers = (*spec.headers, *(header for mirror in spec.mirrors for header in mirror.headers))
    found |= {header.secret.name for header in headers if header.secret is not None}
    for mirror in spec.mirrors:
        found |= {mirror.auth, mirror.presigned.secret if mirror.presigned is not None else ""} - {""}
    return tuple(sorted(found))


def bundles_of(spec: Spec) -> dict[str, BundleReference]:
    """The CA bundles that a pod needs: that of spec.transfer.tls under an empty name, the others by mirror."""
    found = {"": spec.transfer.tls.ca} | {mirror.name: mirror.tls.ca for mirror in spec.mirrors if mirror.tls}
    return {name: bundle for name, bundle in found.items() if bundle is not None}
