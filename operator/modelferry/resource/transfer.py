"""``spec.transfer``: how a download uses the network."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.resource.bandwidth_limits import Limits
from modelferry.resource.secret import SecretReference

#: The default limit of concurrent connections of one download. So many fill a network path of 100 Mbit/s and 180 ms
#: with 1 % loss; on a fast path the engine uses about 8.
DEFAULT_CONNECTIONS = 80
MAX_CONNECTIONS = 128
MAX_PINS = 16
#: Seconds without a valid byte after which a download fails: the default, and the range that a spec may give.
DEFAULT_PROGRESS_DEADLINE, MIN_PROGRESS_DEADLINE, MAX_PROGRESS_DEADLINE = 300.0, 10.0, 86400.0
#: The same for resolving, while `progressDeadline` is not raised: an error in a URL is told soon.
DEFAULT_RESOLVE_DEADLINE = 60.0
MAX_NO_PROXY = 64

#: The values of ``minVersion``; TLS 1.1 and older are not safe (RFC 8996).
TLS_VERSIONS = ("1.2", "1.3")


@dataclass(frozen=True, slots=True)
class BundleReference:
    """A CA bundle (PEM) in the artifact's namespace; ``kind`` is configMap or secret."""

    kind: str
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class TLS:
    """How servers are trusted. ``pins`` are ``sha256/BASE64`` of certificates or of their keys, one of which must match
    beside the ordinary verification; ``ca`` is trusted beside the system's authorities. ``client``: the Secret with
    the certificate that authenticates the client to a server."""

    allow_plain_http: bool = False
    min_version: str = "1.3"
    pins: tuple[str, ...] = ()
    ca: BundleReference | None = None
    client: SecretReference | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy that every connection goes through, but for the hosts in ``no_proxy`` (`manifest.proxies`).

    ``auth``: the Secret with its username and password. ``pins``: of its certificate, where its ``url`` is https://.
    """

    url: str
    auth: SecretReference | None = None
    no_proxy: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Transfer:
    """How bytes travel: ``connections`` is the number of concurrent streams of one download; with ``proxy`` None the
    environment decides. ``progress_deadline``: seconds without a
    valid byte from any server, after which the download fails.
    ``limits``: what it may receive. ``pod_network``: bytes per second that the pod's network link lets in, None for no
    limit."""

    connections: int = DEFAULT_CONNECTIONS
    tls: TLS = field(default_factory=TLS)
    proxy: Proxy | None = None
    progress_deadline: float = DEFAULT_PROGRESS_DEADLINE
    limits: Limits = field(default_factory=Limits)
    pod_network: int | None = None

    @property
    def resolve_deadline(self) -> float:
        """Seconds without any response of the source after which resolving fails."""
        is_raised = self.progress_deadline > DEFAULT_PROGRESS_DEADLINE
        return self.progress_deadline if is_raised else min(self.progress_deadline, DEFAULT_RESOLVE_DEADLINE)
