"""From a spec and the mounted Secrets to the ways on which an agent reaches each mirror."""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from modelferry.agent import mirror_routes, proxy_credentials, store_credentials
from modelferry.agent.secrets import Secret, Secrets, add_secrets
from modelferry.agent.trust_bundle import add_ca_file, context_of, identity_of
from modelferry.errors import InvalidSpec
from modelferry.http.auth import credentials
from modelferry.http.auth.credentials import ANONYMOUS, Credential, HostScoped
from modelferry.http.routes import Route, Routes
from modelferry.manifest import Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.source import HTTPSource, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec import Spec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is given beside the spec: ``--ca-file``, ``--secrets`` and ``--proxy-secret``."""
    add_ca_file(parser)
    add_secrets(parser)
    help_ = "the Secret with username and password for the proxy that the environment names"
    parser.add_argument("--proxy-secret", default="", metavar="NAME", help=help_)


def words(args: argparse.Namespace) -> list[str]:
    """The same arguments once more, for a child process."""
    found = [str(word) for file in args.ca_file for word in ("--ca-file", file)]
    found += [word for name, file in args.mirror_ca for word in ("--mirror-ca", f"{name}={file}")]
    found += ["--secrets", str(args.secrets)] if args.secrets else []
    return found + (["--proxy-secret", args.proxy_secret] if args.proxy_secret else [])


def asked_for(spec: Spec, args: argparse.Namespace) -> Routes:
    """`routes_of` with what `add_arguments` declared, and this process's environment."""
    return routes_of(spec, args.ca_file, Secrets(args.secrets), environment=os.environ, proxy_secret=args.proxy_secret)


def routes_of(
    spec: Spec,
    ca_files: Sequence[Path],
    secrets: Secrets,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    proxy_secret: str = "",
) -> Routes:
    """How the servers of the source are reached; by the proxies of `environment` where the spec has none of its own.

    Raises InvalidSpec where a bundle, a Secret or a proxy is missing or is none.
    """
    tls = spec.transfer.tls
    proxy = spec.transfer.proxy

    def context(pins: tuple[str, ...]) -> ssl.SSLContext:
        return context_of(replace(tls, pins=pins), ca_files)

    found = (
        proxy_credentials.of_spec(proxy, secrets, context)
        if proxy is not None
        else proxy_credentials.of_environment(environment, secrets, proxy_secret, context)
    )
    identity = identity_of(tls, ca_files, secrets, lambda where: _hosts(spec, where))
    return Routes(Route(context_of(tls, ca_files), _credential(spec, secrets), found, identity=identity))


def with_mirrors(routes: Routes, spec: Spec, args: argparse.Namespace, manifest: Manifest) -> tuple[Routes, Manifest]:
    """`routes` and `manifest` with the mirrors of `spec` beside the source. Raises as `routes_of`."""
    secrets = Secrets(args.secrets)
    others = mirror_routes.routes(spec, routes.of(SOURCE), args.ca_file, secrets, dict(args.mirror_ca), manifest)
    return Routes(routes.of(SOURCE), others), mirror_routes.with_locations(manifest, spec, secrets)


def _credential(spec: Spec, secrets: Secrets) -> Credential:
    """What the source wants to see, shown to the Secret's own list of hosts, or else to the source's host."""
    secret = secrets.read(spec.auth.name, "spec.auth") if spec.auth else None
    inner = _inner(spec, secret)
    if inner is ANONYMOUS:
        return ANONYMOUS
    hosts = (secret.hosts if secret else frozenset()) or _hosts(spec, "spec.auth")
    return HostScoped(inner, hosts, spec.transfer.tls.allow_plain_http)


def _inner(spec: Spec, secret: Secret | None) -> Credential:
    match spec.source:
        case S3Source() as bucket:
            return store_credentials.of_bucket(bucket, secret)
        case OCISource() as artifact:
            return store_credentials.of_registry(artifact, secret, plain_http=spec.transfer.tls.allow_plain_http)
    if secret is None:
        return ANONYMOUS
    if isinstance(spec.source, ModelScopeSource) and (token := secret.data.get("token")):
        return credentials.session(token)
    return secret.login()


def _hosts(spec: Spec, where: str) -> frozenset[str]:
    """The source's own; there must be one alone, to which what the field `where` names is shown."""
    match spec.source:
        case HTTPSource(files, manifest_url):
            urls = [manifest_url, *(file.url for file in files)]
        case HuggingFaceSource(endpoint=endpoint) | ModelScopeSource(endpoint=endpoint):
            urls = [endpoint]
        case S3Source() | OCISource() as store:
            urls = [store.base]
    hosts = {urlsplit(url).netloc.rpartition("@")[2].lower() for url in urls}
    hosts.discard("")
    if len(hosts) > 1:
        raise InvalidSpec(
            f"{where}: the source's files are on {len(hosts)} hosts ({', '.join(sorted(hosts)[:3])}, …); list in the"
            " Secret's key allowedHosts which of them may see it"
        )
    return frozenset(hosts)
