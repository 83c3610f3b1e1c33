"""``spec.mirrors``: other servers that have the same files, and where the source stands among them."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.resource.transfer import TLS, Proxy

#: More than that is a list that nobody keeps in order.
MAX_MIRRORS = 16
MAX_WEIGHT, MAX_PRIORITY = 100, 1000
#: Seconds between two probes, where the spec says nothing; and what may be said.
PROBE, LEAST_PROBE, MOST_PROBE = 30.0, 1.0, 3600.0
#: Seconds that a URL which is minted from keys lives, where the spec says nothing; SigV4 allows seven days.
EXPIRES, MOST_EXPIRES = 900.0, 604800.0


@dataclass(frozen=True, slots=True)
class SecretURLs:
    """Presigned URLs in a Secret: a key for each path, or ``template`` with ``{path}``."""

    secret: str


@dataclass(frozen=True, slots=True)
class S3Keys:
    """Where objects stand, and the Secret with the keys that URLs are minted from. ``prefix`` is put before each path;
    ``expires``: seconds that a URL lives."""

    bucket: str
    secret: str
    region: str = "us-east-1"
    endpoint: str = ""
    prefix: str = ""
    expires: float = EXPIRES


@dataclass(frozen=True, slots=True)
class Mirror:
    """One mirror. ``url`` has ``{path}`` and may have ``{revision}``; or the URLs are ``presigned``. Lower ``priority``
    is asked first; those of the same share the work. ``auth``: the name of a Secret, or empty. ``probe`` in seconds.
    ``proxy`` takes the place of spec.transfer's. ``bandwidth``: bytes per second, None for no limit of its own. The one
    named ``source`` stands for spec.source, which has its own url, auth, tls and proxy."""

    name: str
    priority: int
    url: str = ""
    weight: int = 1
    auth: str = ""
    tls: TLS | None = None
    presigned: SecretURLs | S3Keys | None = None
    probe: float = PROBE
    proxy: Proxy | None = None
    bandwidth: int | None = None
