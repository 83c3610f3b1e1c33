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

from modelferry.agent import proxies, stores
from modelferry.agent.secrets import Secrets, add_secrets
from modelferry.agent.trust import add_ca_file, context_of
from modelferry.errors import InvalidSpec
from modelferry.net import credentials
from modelferry.net.credentials import NOBODY, Credential, Guarded
from modelferry.net.ways import Way, Ways
from modelferry.resource.source import HTTPSource, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec import Spec
from modelferry.resource.stores import OCISource, S3Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is given beside the spec: ``--ca-file``, ``--secrets`` and ``--proxy-secret``."""
    add_ca_file(parser)
    add_secrets(parser)
    help_ = "the Secret with username and password for the proxy that the environment names"
    parser.add_argument("--proxy-secret", default="", metavar="NAME", help=help_)


def words(args: argparse.Namespace) -> list[str]:
    """The same arguments once more, for a child process."""
    found = [str(word) for file in args.ca_file for word in ("--ca-file", file)]
    found += ["--secrets", str(args.secrets)] if args.secrets else []
    return found + (["--proxy-secret", args.proxy_secret] if args.proxy_secret else [])


def asked_for(spec: Spec, args: argparse.Namespace) -> Ways:
    """`ways_of` with what `add_arguments` declared, and this process's environment."""
    return ways_of(spec, args.ca_file, Secrets(args.secrets), environment=os.environ, proxy_secret=args.proxy_secret)


def ways_of(
    spec: Spec,
    ca_files: Sequence[Path],
    secrets: Secrets,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    proxy_secret: str = "",
) -> Ways:
    """How the servers of `spec` are reached; by the proxies of `environment` where the spec has none of its own.

    Raises InvalidSpec where a bundle, a Secret or a proxy is missing or is none.
    """
    tls = spec.transfer.tls
    proxy = spec.transfer.proxy

    def context(pins: tuple[str, ...]) -> ssl.SSLContext:
        return context_of(replace(tls, pins=pins), ca_files)

    found = (
        proxies.of_spec(proxy, secrets, context)
        if proxy is not None
        else proxies.of_environment(environment, secrets, proxy_secret, context)
    )
    return Ways(Way(context_of(tls, ca_files), _credential(spec, secrets), found))


def _credential(spec: Spec, secrets: Secrets) -> Credential:
    """What the source wants to see, shown to the Secret's own list of hosts, or else to the source's host."""
    data = secrets.read(spec.auth.name, "spec.auth") if spec.auth else None
    inner = _inner(spec, data)
    if inner is NOBODY:
        return NOBODY
    hosts = credentials.hosts_of((data or {}).get("allowedHosts", "")) or _hosts(spec)
    return Guarded(inner, hosts, spec.transfer.tls.allow_plain_http)


def _inner(spec: Spec, data: Mapping[str, str] | None) -> Credential:
    match spec.source:
        case S3Source() as bucket:
            return stores.of_bucket(bucket, data)
        case OCISource() as artifact:
            return stores.of_registry(artifact, data, plain_http=spec.transfer.tls.allow_plain_http)
    if spec.auth is None or data is None:
        return NOBODY
    if isinstance(spec.source, ModelScopeSource) and (token := data.get("token")):
        return credentials.session(token)
    if (found := credentials.of_secret(data)) is None:
        raise InvalidSpec(
            f"spec.auth: Secret {spec.auth.name!r} has the keys {', '.join(sorted(data))}; give it token, or username"
            " and password",
            reason="SecretMissing",
        )
    return found


def _hosts(spec: Spec) -> frozenset[str]:
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
            f"spec.auth: the source's files are on {len(hosts)} hosts ({', '.join(sorted(hosts)[:3])}, …); list in the"
            " Secret's key allowedHosts which of them may see it"
        )
    return frozenset(hosts)
