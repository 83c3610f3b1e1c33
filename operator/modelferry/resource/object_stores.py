"""``spec.source.s3`` and ``spec.source.oci``: files in a bucket, and files that are layers of an artifact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

#: ``spec.source.s3.style``: where the bucket's name is in the URL.
STYLES = ("path", "virtual")

#: ``spec.source.oci.archives``: what is done with a layer that is an archive.
ARCHIVES = ("refuse", "keep")

_AMAZON = ".amazonaws.com"
#: The API host of docker.io, whose own host serves a web page.
_API_HOSTS = {"docker.io": "registry-1.docker.io"}

#: General purpose bucket naming rules (S3 User Guide); compatible stores keep to them.
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

_HOST = r"(?P<host>(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+(?::[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}|localhost)"
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
#: The grammar of github.com/distribution/reference, but that the host and a tag or digest must be given.
_REFERENCE = re.compile(
    rf"{_HOST}/(?P<repository>{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class S3Source:
    """The objects of ``bucket`` below ``prefix``, a directory; empty: all of it.

    ``endpoint``: the store's URL, without a slash at its end; empty: Amazon's in ``region``. ``style``: one of
    `STYLES`; empty: virtual at Amazon if the bucket's name matches a certificate's wildcard, else path. ``include`` and
    ``exclude`` are patterns of paths below the prefix. ``service_account``: the pods run as it, to be given the web
    identity of its role; empty: none.
    """

    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    endpoint: str = ""
    style: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    service_account: str = ""

    @property
    def base(self) -> str:
        """The bucket's URL, without a slash at its end."""
        parts = urlsplit(self.endpoint or f"https://s3.{self.region}{_AMAZON}")
        amazon = (parts.hostname or "").endswith(_AMAZON)
        if (self.style or ("virtual" if amazon and "." not in self.bucket else "path")) == "virtual":
            return f"{parts.scheme}://{self.bucket}.{parts.netloc}{parts.path}"
        return f"{parts.scheme}://{parts.netloc}{parts.path}/{self.bucket}"

    @property
    def directory(self) -> str:
        """The prefix as keys begin with it: empty, or with a slash at its end."""
        return f"{self.prefix.rstrip('/')}/" if self.prefix.strip("/") else ""


@dataclass(frozen=True, slots=True)
class OCISource:
    """An artifact of a registry. ``host`` may have a port; ``tag`` is empty where a ``digest`` (sha256:…) is given
    alone. ``keep_archives``: a layer that is an archive is a file, as it is; else the artifact is refused."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""
    keep_archives: bool = False

    @classmethod
    def parse(cls, reference: str) -> OCISource:
        """Read ``host/repository:tag``, ``host/repository@sha256:…`` or both; raises ValueError."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise ValueError(
                "must be HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST, such as"
                " registry.example.com/models/chattts:v1"
            )
        tag, digest = match["tag"] or "", match["digest"] or ""
        if not tag and not digest:
            raise ValueError("names neither a tag nor a digest; add :TAG or @sha256:DIGEST")
        return cls(match["host"].lower(), match["repository"], tag, digest)

    @property
    def api_host(self) -> str:
        """The host of the registry's API."""
        return _API_HOSTS.get(self.host, self.host)

    @property
    def base(self) -> str:
        """The repository's URL in the registry's API (OCI Distribution Specification), without a slash at its end."""
        return f"https://{self.api_host}/v2/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}{'@' + self.digest if self.digest else ''}"
