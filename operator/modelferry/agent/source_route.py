"""The routes on which an agent reaches the source and its mirrors, from a spec and the mounted Secrets."""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from modelferry.agent import mirror_routes, proxy_credentials, store_credentials
from modelferry.agent.added_headers import with_headers
from modelferry.agent.environment_secret import add_environment_arguments, environment_secret, places
from modelferry.agent.secrets import Secret, Secrets, add_secrets_argument
from modelferry.agent.trust_bundle import add_ca_arguments, client_identity, tls_context
from modelferry.errors import InvalidSpec
from modelferry.http.auth import credentials
from modelferry.http.auth.credentials import ANONYMOUS, Credential, HostScoped
from modelferry.http.routes import Route, Routes
from modelferry.manifest import Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.source import HTTPSource, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec import Spec
from modelferry.values.urls import authority


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments in addition to the spec: CA bundles, ``--secrets``, ``--proxy-secret``, and those for the
    credentials of the environment."""
    add_ca_arguments(parser)
    add_secrets_argument(parser)
    help_ = "the Secret with username and password for the proxy in the environment"
    parser.add_argument("--proxy-secret", default="", metavar="NAME", help=help_)
    add_environment_arguments(parser)


def to_command_line(args: argparse.Namespace) -> list[str]:
    """The arguments that `add_arguments` declared, for a child process."""
    command_line = [str(word) for file in args.ca_file for word in ("--ca-file", file)]
    command_line += [word for name, file in args.mirror_ca for word in ("--mirror-ca", f"{name}={file}")]
    command_line += ["--secrets", str(args.secrets)] if args.secrets else []
    command_line += ["--proxy-secret", args.proxy_secret] if args.proxy_secret else []
    command_line += ["--auth-from-env"] if args.auth_from_env else []
    return command_line + (["--token-env", args.token_env] if args.token_env else [])


def routes_from_arguments(spec: Spec, args: argparse.Namespace) -> Routes:
    """`source_routes` with the arguments that `add_arguments` declared, and this process's environment."""
    return source_routes(
        spec,
        args.ca_file,
        Secrets(args.secrets),
        environment=os.environ,
        proxy_secret=args.proxy_secret,
        login=source_login(spec, args),
    )


def source_login(spec: Spec, args: argparse.Namespace) -> Secret | None:
    """The source's credentials from this process's environment, if the arguments say so; None if there are none.

    Raises InvalidSpec (reason SecretMissing) if there are none and the spec says that the source needs some.
    """
    if not args.auth_from_env and not args.token_env:
        return None
    found = environment_secret(spec.source, os.environ, args.token_env)
    if found is None and spec.auth is not None:
        raise InvalidSpec(
            f"--auth-from-env: the environment has no credentials for the source; they are those of"
            f" {places(spec.source)}",
            reason="SecretMissing",
        )
    return found


def source_routes(
    spec: Spec,
    ca_files: Sequence[Path],
    secrets: Secrets,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    proxy_secret: str = "",
    login: Secret | None = None,
) -> Routes:
    """The route to the source's servers. Without a proxy in the spec, it uses the proxies in `environment`. `login`:
    the source's credentials, instead of those in the Secret that the spec names.

    Raises InvalidSpec if a CA bundle, a Secret or a proxy is missing or invalid.
    """
    tls = spec.transfer.tls
    proxy = spec.transfer.proxy

    def proxy_context(pins: tuple[str, ...]) -> ssl.SSLContext:
        return tls_context(replace(tls, pins=pins), ca_files)

    proxies = (
        proxy_credentials.proxies_from_spec(proxy, secrets, proxy_context)
        if proxy is not None
        else proxy_credentials.proxies_from_environment(environment, secrets, proxy_secret, proxy_context)
    )
    identity = client_identity(tls, ca_files, secrets, lambda field: _source_hosts(spec, field))
    return Routes(
        Route(tls_context(tls, ca_files), _credential_with_headers(spec, secrets, login), proxies, identity=identity)
    )


def add_mirrors(routes: Routes, spec: Spec, args: argparse.Namespace, manifest: Manifest) -> tuple[Routes, Manifest]:
    """`routes` and `manifest`, with the mirrors of `spec` added. Raises InvalidSpec, like `source_routes`."""
    secrets, source = Secrets(args.secrets), routes.for_mirror(SOURCE)
    mirrors = mirror_routes.mirror_routes(spec, source, args.ca_file, secrets, dict(args.mirror_ca), manifest)
    return Routes(source, mirrors), mirror_routes.add_locations(manifest, spec, secrets)


def _credential_with_headers(spec: Spec, secrets: Secrets, login: Secret | None) -> Credential:
    """The source's credential, and the header fields of the spec."""
    return with_headers(
        _credential(spec, secrets, login),
        spec.headers,
        secrets,
        where="spec",
        hosts=_all_hosts(spec),
        secret_hosts=lambda field: _source_hosts(spec, field),
        plain_http=spec.transfer.tls.allow_plain_http,
    )


def _credential(spec: Spec, secrets: Secrets, login: Secret | None) -> Credential:
    """The source's credential, for the hosts that its Secret lists, or else for the source's host."""
    secret = login or (secrets.read(spec.auth.name, "spec.auth") if spec.auth else None)
    credential = _unscoped_credential(spec, secret)
    if credential is ANONYMOUS:
        return ANONYMOUS
    hosts = (secret.hosts if secret else frozenset()) or _source_hosts(spec, "spec.auth")
    return HostScoped(credential, hosts, spec.transfer.tls.allow_plain_http)


def _unscoped_credential(spec: Spec, secret: Secret | None) -> Credential:
    match spec.source:
        case S3Source() as bucket:
            return store_credentials.bucket_credential(bucket, secret)
        case OCISource() as artifact:
            plain_http = spec.transfer.tls.allow_plain_http
            return store_credentials.registry_credential(artifact, secret, plain_http=plain_http)
    if secret is None:
        return ANONYMOUS
    if isinstance(spec.source, ModelScopeSource) and (token := secret.word("token")):
        return credentials.modelscope_session(token)
    return secret.credential()


def _source_hosts(spec: Spec, field: str) -> frozenset[str]:
    """The source's own host. Raises InvalidSpec if there are several: the Secret in the field `field` must say to which
    of them it is sent."""
    hosts = _all_hosts(spec)
    if len(hosts) > 1:
        raise InvalidSpec(
            f"{field}: the source's files are on {len(hosts)} hosts ({', '.join(sorted(hosts)[:3])}, …); list in the"
            " Secret's key allowedHosts which of them may see it"
        )
    return hosts


def _all_hosts(spec: Spec) -> frozenset[str]:
    """The hosts that the source names."""
    match spec.source:
        case HTTPSource(files, manifest_url):
            urls = [manifest_url, *(file.url for file in files)]
        case HuggingFaceSource(endpoint=endpoint) | ModelScopeSource(endpoint=endpoint):
            urls = [endpoint]
        case S3Source() | OCISource() as store:
            urls = [store.base]
    return frozenset({authority(url) for url in urls} - {""})
