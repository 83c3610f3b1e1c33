"""From ``spec.mirrors`` to the engine's mirrors: their priorities, locations and routes. Mirrors are not part of the
manifest, so that they can be edited without resolving the source again."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from modelferry.agent import proxy_credentials, store_credentials
from modelferry.agent.added_headers import with_headers
from modelferry.agent.secrets import Secrets
from modelferry.agent.trust_bundle import client_identity, tls_context
from modelferry.engine import mirrors as engine
from modelferry.errors import InvalidSpec
from modelferry.http.auth.credentials import ANONYMOUS, Credential, HostScoped
from modelferry.http.auth.presigned import Presigner, SigV4URLs, StoredURLs
from modelferry.http.auth.sigv4 import object_path
from modelferry.http.proxy.proxies import Proxies
from modelferry.http.routes import ClientIdentity, Route
from modelferry.manifest import FileEntry, Location, Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.resource.mirror import Mirror, S3Keys, SecretURLs
from modelferry.resource.object_stores import S3Source
from modelferry.resource.spec import Spec
from modelferry.values.urls import authority, url_error

#: In a Secret of presigned URLs: the key with the URL for every path without a key of its own, and the replacement for
#: a slash, which a key cannot contain.
TEMPLATE, SLASH = "template", "__"


def engine_mirrors(spec: Spec) -> tuple[engine.Mirror, ...]:
    """The mirrors with their priorities; empty if there is only the source."""
    return tuple(engine.Mirror(one.name, one.priority, one.weight, one.probe) for one in spec.mirrors)


def add_locations(manifest: Manifest, spec: Spec, secrets: Secrets) -> Manifest:
    """`manifest` with the locations of its files at the mirrors of `spec`. Raises InvalidSpec if a Secret is missing or
    has no URL for any file."""
    files = list(manifest.files)
    for mirror in spec.mirrors:
        if mirror.name != SOURCE:
            urls = _unsigned_urls(mirror, manifest, secrets)
            files = [
                replace(file, locations=(*file.locations, Location(urls[file.path], mirror.name)))
                if file.path in urls
                else file
                for file in files
            ]
    return Manifest(manifest.revision, tuple(files))


def mirror_routes(spec: Spec, default: Route, ca_files: Sequence[Path], secrets: Secrets, bundles: Mapping[str, Path],
                  manifest: Manifest | None) -> dict[str, Route]:  # fmt: skip
    """The route to each mirror by its name. What its entry does not set is as in `default`, the source's route, except
    for the credential. `bundles`: each mirror's own CA bundle by its name. `manifest` is None if nothing is fetched."""
    return {
        mirror.name: replace(
            default,
            context=_context(mirror, default, ca_files, bundles),
            proxies=_proxies(mirror, spec, default, ca_files, bundles, secrets),
            credential=_credential(mirror, secrets, plain_http=spec.transfer.tls.allow_plain_http),
            presigner=_presigner(mirror, secrets, manifest),
            identity=_identity(mirror, default, ca_files, secrets, bundles),
            tls_field=_tls_field(mirror) if mirror.tls else default.tls_field,
        )
        for mirror in spec.mirrors
        if mirror.name != SOURCE
    }


def _unsigned_urls(mirror: Mirror, manifest: Manifest, secrets: Secrets) -> dict[str, str]:
    """The URLs by path. Presigned URLs are without their query, which is the signature."""
    match mirror.presigned:
        case SecretURLs():
            return {path: _without_query(url) for path, url in _secret_urls(mirror, manifest.files, secrets).items()}
        case S3Keys() as s3:
            bucket = _bucket_url(s3)
            return {file.path: f"{bucket}/{object_path(s3.prefix + file.path)}" for file in manifest.files}
    revision = quote(manifest.revision, safe="")
    return {file.path: _with_path(mirror.url, file.path).replace("{revision}", revision) for file in manifest.files}


def _with_path(template: str, path: str) -> str:
    return template.replace("{path}", "/".join(quote(segment, safe="") for segment in path.split("/")))


def _bucket_url(s3: S3Keys) -> str:
    if s3.endpoint:
        return f"{s3.endpoint}/{s3.bucket}"
    return S3Source(s3.bucket, region=s3.region).base


def _without_query(url: str) -> str:
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _secret_urls(mirror: Mirror, files: Sequence[FileEntry], secrets: Secrets) -> dict[str, str]:
    """The presigned URLs in a Secret by path, for the files for which it has one."""
    assert isinstance(mirror.presigned, SecretURLs)
    field = f"spec.mirrors[{mirror.name}].presigned"
    data = secrets.read(mirror.presigned.secret, field).data
    urls = {}
    for file in files:
        key = file.path.replace("/", SLASH)
        url = data.get(key) or _with_path(data.get(TEMPLATE, ""), file.path)
        if not url:
            continue
        if error := url_error(url):
            used = key if key in data else TEMPLATE
            raise InvalidSpec(f"{field}: key {used!r} of Secret {mirror.presigned.secret!r}: the URL {error}")
        urls[file.path] = url
    if not urls:
        raise InvalidSpec(
            f"{field}: Secret {mirror.presigned.secret!r} has no URL for any file; give it a key for each path"
            f" ({SLASH} for each slash), or the key {TEMPLATE} with {{path}} in it"
        )
    return urls


def _presigner(mirror: Mirror, secrets: Secrets, manifest: Manifest | None) -> Presigner | None:
    match mirror.presigned:
        case SecretURLs():
            files = manifest.files if manifest is not None else ()

            def read() -> dict[str, str]:
                return {_without_query(url): url for url in _secret_urls(mirror, files, secrets).values()}

            return StoredURLs(read, time.monotonic)
        case S3Keys() as s3:
            keys = store_credentials.access_keys(secrets.read(s3.secret, f"spec.mirrors[{mirror.name}].presigned.s3"))
            return SigV4URLs(keys, s3.region, int(s3.expires), store_credentials.utc_now)
    return None


def _credential(mirror: Mirror, secrets: Secrets, *, plain_http: bool) -> Credential:
    """The mirror's own, for the hosts that its Secret lists, or else for the mirror's host; with its header fields."""
    credential: Credential = ANONYMOUS
    if mirror.auth:
        secret = secrets.read(mirror.auth, f"spec.mirrors[{mirror.name}].auth")
        credential = HostScoped(secret.credential(), secret.hosts or _url_host(mirror), plain_http)
    return with_headers(
        credential,
        mirror.headers,
        secrets,
        where=f"spec.mirrors[{mirror.name}]",
        hosts=_known_hosts(mirror),
        secret_hosts=lambda field: _own_hosts(mirror, field),
        plain_http=plain_http,
    )


def _url_host(mirror: Mirror) -> frozenset[str]:
    return frozenset({authority(mirror.url)} - {""})


def _known_hosts(mirror: Mirror) -> frozenset[str]:
    """The mirror's hosts; empty if its URLs are in a Secret."""
    if isinstance(mirror.presigned, S3Keys):
        return frozenset({authority(_bucket_url(mirror.presigned))})
    return _url_host(mirror)


def _own_hosts(mirror: Mirror, field: str) -> frozenset[str]:
    """The hosts to which the content of the Secret in the field `field` is sent. Raises InvalidSpec if they are not
    known."""
    if hosts := _known_hosts(mirror):
        return hosts
    raise InvalidSpec(f"{field}: list in the Secret's key allowedHosts which hosts may see it")


def _tls_field(mirror: Mirror) -> str:
    return f"spec.mirrors[{mirror.name}].tls"


def _proxies(mirror: Mirror, spec: Spec, default: Route, ca_files: Sequence[Path], bundles: Mapping[str, Path],
             secrets: Secrets) -> Proxies:  # fmt: skip
    """The mirror's own proxy, verified under the mirror's TLS settings, or else the source's."""
    if mirror.proxy is None:
        return default.proxies
    field, trusted = f"spec.mirrors[{mirror.name}].proxy", _ca_files(mirror, ca_files, bundles)

    def proxy_context(pins: tuple[str, ...]) -> ssl.SSLContext:
        return tls_context(replace(mirror.tls or spec.transfer.tls, pins=pins), trusted)

    return proxy_credentials.proxies_from_spec(mirror.proxy, secrets, proxy_context, field)


def _context(mirror: Mirror, default: Route, ca_files: Sequence[Path], bundles: Mapping[str, Path]) -> ssl.SSLContext:
    if mirror.tls is None:
        return default.context
    return tls_context(mirror.tls, _ca_files(mirror, ca_files, bundles), field=_tls_field(mirror))


def _identity(
    mirror: Mirror, default: Route, ca_files: Sequence[Path], secrets: Secrets, bundles: Mapping[str, Path]
) -> ClientIdentity | None:
    """The mirror's own, or else the source's, which remains limited to the source's hosts."""
    if mirror.tls is None:
        return default.identity
    trusted, field = _ca_files(mirror, ca_files, bundles), _tls_field(mirror)
    return client_identity(mirror.tls, trusted, secrets, lambda inner: _own_hosts(mirror, inner), field=field)


def _ca_files(mirror: Mirror, ca_files: Sequence[Path], bundles: Mapping[str, Path]) -> list[Path]:
    return [*ca_files, *([bundles[mirror.name]] if mirror.name in bundles else [])]
