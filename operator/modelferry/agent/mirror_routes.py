"""From ``spec.mirrors`` to what the engine goes by: places, standings, and the way to each. Mirrors are no part of the
manifest, so that they may be edited without the source being asked again."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from modelferry.agent import proxy_credentials, store_credentials
from modelferry.agent.secrets import Secrets
from modelferry.agent.trust_bundle import context_of, identity_of
from modelferry.engine import mirrors as engine
from modelferry.errors import InvalidSpec
from modelferry.http.auth.credentials import ANONYMOUS, Credential, HostScoped
from modelferry.http.auth.presigned import Presigner, SigV4URLs, StoredURLs
from modelferry.http.auth.sigv4 import encoded_key
from modelferry.http.proxy.selection import Proxies
from modelferry.http.routes import ClientIdentity, Route
from modelferry.manifest import FileEntry, Location, Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.resource.mirror import Mirror, S3Keys, SecretURLs
from modelferry.resource.object_stores import S3Source
from modelferry.resource.spec import Spec
from modelferry.values.urls import url_error

#: The key of a Secret of presigned URLs that serves every path without a key of its own; and what stands for a slash in
#: a key, which may not hold one.
TEMPLATE, SLASH = "template", "__"


def standings(spec: Spec) -> tuple[engine.Mirror, ...]:
    """How the mirrors rank; none where there is only the source."""
    return tuple(engine.Mirror(one.name, one.priority, one.weight, one.probe) for one in spec.mirrors)


def with_locations(manifest: Manifest, spec: Spec, secrets: Secrets) -> Manifest:
    """`manifest` with the places that its files have at the mirrors of `spec`. Raises InvalidSpec where a Secret is
    missing, or has no URL for a file."""
    files = list(manifest.files)
    for mirror in spec.mirrors:
        if mirror.name != SOURCE:
            urls = _urls(mirror, manifest, secrets)
            files = [
                replace(file, locations=(*file.locations, Location(urls[file.path], mirror.name)))
                if file.path in urls
                else file
                for file in files
            ]
    return Manifest(manifest.revision, tuple(files))


def routes(spec: Spec, default: Route, ca_files: Sequence[Path], secrets: Secrets, bundles: Mapping[str, Path],
         manifest: Manifest | None) -> dict[str, Route]:  # fmt: skip
    """The way to each mirror: as to the source, but for what its entry says, and never with the source's credential.
    `bundles`: its own authorities, by name. `manifest` is what there is to fetch, None where nothing is."""
    found = {}
    for mirror in spec.mirrors:
        if mirror.name == SOURCE:
            continue
        found[mirror.name] = replace(
            default,
            context=_context(mirror, default, ca_files, bundles),
            proxies=_proxies(mirror, spec, default, ca_files, bundles, secrets),
            credential=_credential(mirror, secrets, plain_http=spec.transfer.tls.allow_plain_http),
            presigner=_presigner(mirror, secrets, manifest),
            identity=_identity(mirror, default, ca_files, secrets, bundles),
            where=_where(mirror) if mirror.tls else default.where,
        )
    return found


def _urls(mirror: Mirror, manifest: Manifest, secrets: Secrets) -> dict[str, str]:
    """By path; those that carry a permission are shown without it."""
    match mirror.presigned:
        case SecretURLs():
            return {path: _bare(url) for path, url in _given(mirror, manifest.files, secrets).items()}
        case S3Keys() as s3:
            base = _endpoint(s3)
            return {file.path: f"{base}/{encoded_key(s3.prefix + file.path)}" for file in manifest.files}
    revision = quote(manifest.revision, safe="")
    return {file.path: _filled(mirror.url, file.path).replace("{revision}", revision) for file in manifest.files}


def _filled(template: str, path: str) -> str:
    return template.replace("{path}", "/".join(quote(segment, safe="") for segment in path.split("/")))


def _endpoint(s3: S3Keys) -> str:
    if s3.endpoint:
        return f"{s3.endpoint}/{s3.bucket}"
    return S3Source(s3.bucket, region=s3.region).base


def _bare(url: str) -> str:
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _given(mirror: Mirror, files: Sequence[FileEntry], secrets: Secrets) -> dict[str, str]:
    """The URLs of a Secret by path, for those files that it has one for."""
    assert isinstance(mirror.presigned, SecretURLs)
    where = f"spec.mirrors[{mirror.name}].presigned"
    data = secrets.read(mirror.presigned.secret, where).data
    found = {}
    for file in files:
        key = file.path.replace("/", SLASH)
        url = data.get(key) or _filled(data.get(TEMPLATE, ""), file.path)
        if not url:
            continue
        if fault := url_error(url):
            named = key if key in data else TEMPLATE
            raise InvalidSpec(f"{where}: key {named!r} of Secret {mirror.presigned.secret!r}: the URL {fault}")
        found[file.path] = url
    if not found:
        raise InvalidSpec(
            f"{where}: Secret {mirror.presigned.secret!r} has no URL for any file; give it a key for each path"
            f" ({SLASH} for each slash), or the key {TEMPLATE} with {{path}} in it"
        )
    return found


def _presigner(mirror: Mirror, secrets: Secrets, manifest: Manifest | None) -> Presigner | None:
    match mirror.presigned:
        case SecretURLs():
            files = manifest.files if manifest is not None else ()

            def read() -> dict[str, str]:
                return {_bare(url): url for url in _given(mirror, files, secrets).values()}

            return StoredURLs(read, time.monotonic)
        case S3Keys() as s3:
            keys = store_credentials.keys_of(secrets.read(s3.secret, f"spec.mirrors[{mirror.name}].presigned.s3"))
            return SigV4URLs(keys, s3.region, int(s3.expires), store_credentials.now)
    return None


def _credential(mirror: Mirror, secrets: Secrets, *, plain_http: bool) -> Credential:
    """Shown to the Secret's own list of hosts, or else to the mirror's host."""
    if not mirror.auth:
        return ANONYMOUS
    secret = secrets.read(mirror.auth, f"spec.mirrors[{mirror.name}].auth")
    return HostScoped(secret.login(), secret.hosts or _own(mirror), plain_http)


def _own(mirror: Mirror) -> frozenset[str]:
    return frozenset({urlsplit(mirror.url).netloc.lower()} - {""})


def _meant(mirror: Mirror, where: str) -> frozenset[str]:
    """Whom the certificate is for that the field `where` names."""
    if isinstance(mirror.presigned, S3Keys):
        return frozenset({urlsplit(_endpoint(mirror.presigned)).netloc.lower()})
    if not mirror.url:
        raise InvalidSpec(f"{where}: list in the Secret's key allowedHosts which hosts may see it")
    return _own(mirror)


def _where(mirror: Mirror) -> str:
    return f"spec.mirrors[{mirror.name}].tls"


def _proxies(mirror: Mirror, spec: Spec, default: Route, ca_files: Sequence[Path], bundles: Mapping[str, Path],
             secrets: Secrets) -> Proxies:  # fmt: skip
    """Its own proxy, verified as the mirror is, or else the source's."""
    if mirror.proxy is None:
        return default.proxies
    where, trusted = f"spec.mirrors[{mirror.name}].proxy", _trusted(mirror, ca_files, bundles)

    def context(pins: tuple[str, ...]) -> ssl.SSLContext:
        return context_of(replace(mirror.tls or spec.transfer.tls, pins=pins), trusted)

    return proxy_credentials.of_spec(mirror.proxy, secrets, context, where)


def _context(mirror: Mirror, default: Route, ca_files: Sequence[Path], bundles: Mapping[str, Path]) -> ssl.SSLContext:
    if mirror.tls is None:
        return default.context
    return context_of(mirror.tls, _trusted(mirror, ca_files, bundles), where=_where(mirror))


def _identity(
    mirror: Mirror, default: Route, ca_files: Sequence[Path], secrets: Secrets, bundles: Mapping[str, Path]
) -> ClientIdentity | None:
    """The mirror's own, or else the source's, which is for the source's hosts all the same."""
    if mirror.tls is None:
        return default.identity
    trusted = _trusted(mirror, ca_files, bundles)
    return identity_of(mirror.tls, trusted, secrets, lambda field: _meant(mirror, field), where=_where(mirror))


def _trusted(mirror: Mirror, ca_files: Sequence[Path], bundles: Mapping[str, Path]) -> list[Path]:
    return [*ca_files, *([bundles[mirror.name]] if mirror.name in bundles else [])]
