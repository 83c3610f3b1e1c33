"""``spec.mirrors``: other servers that have the same files, and the rank of the source among them."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.resource.header import Header
from modelferry.resource.transfer import TLS, Proxy

#: The CRD has the same limits.
MAX_MIRRORS = 16
MAX_WEIGHT, MAX_PRIORITY = 100, 1000
#: Seconds between two probes: the default, and the range that a spec may set.
DEFAULT_PROBE, MIN_PROBE, MAX_PROBE = 30.0, 1.0, 3600.0
#: Seconds until a URL signed with keys expires: the default, and the maximum of SigV4, seven days.
DEFAULT_EXPIRES, MAX_EXPIRES = 900.0, 604800.0


@dataclass(frozen=True, slots=True)
class SecretURLs:
    """Presigned URLs in a Secret: a key for each path, or ``template`` with ``{path}``."""

    secret: str


@dataclass(frozen=True, slots=True)
class S3Keys:
    """A bucket, and the Secret with the access keys that sign its URLs. ``prefix`` precedes each path. ``expires``:
    seconds until a URL expires."""

    bucket: str
    secret: str
    region: str = "us-east-1"
    endpoint: str = ""
    prefix: str = ""
    expires: float = DEFAULT_EXPIRES


@dataclass(frozen=True, slots=True)
class Mirror:
    """One mirror. ``url`` has ``{path}`` and may have ``{revision}``; or the URLs are ``presigned``.

    A lower ``priority`` is used first; mirrors of the same priority share the work. ``auth``: the name of a Secret, or
    empty. ``probe`` in seconds. ``proxy`` replaces spec.transfer's. ``bandwidth``: bytes per second, None for no limit
    of its own. ``headers``: header fields for its servers. The one named ``source`` is spec.source, which has its own
    url, auth, tls, proxy and headers.
    """

    name: str
    priority: int
    url: str = ""
    weight: int = 1
    auth: str = ""
    tls: TLS | None = None
    presigned: SecretURLs | S3Keys | None = None
    probe: float = DEFAULT_PROBE
    proxy: Proxy | None = None
    bandwidth: int | None = None
    headers: tuple[Header, ...] = ()
