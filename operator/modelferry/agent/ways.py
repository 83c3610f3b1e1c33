"""From a spec and the mounted Secrets to the ways on which an agent reaches each mirror."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from modelferry.agent import stores
from modelferry.agent.secrets import Secrets, add_secrets
from modelferry.agent.trust import add_ca_file, context_of
from modelferry.errors import InvalidSpec
from modelferry.net import credentials
from modelferry.net.credentials import NOBODY, Credential, Guarded
from modelferry.net.ways import Way, Ways
from modelferry.resource.source import HTTPSource
from modelferry.resource.spec import Spec
from modelferry.resource.stores import OCISource, S3Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is given beside the spec: ``--ca-file`` and ``--secrets``."""
    add_ca_file(parser)
    add_secrets(parser)


def words(args: argparse.Namespace) -> list[str]:
    """The same arguments once more, for a child process."""
    return [str(word) for file in args.ca_file for word in ("--ca-file", file)] + (
        ["--secrets", str(args.secrets)] if args.secrets else []
    )


def ways_of(spec: Spec, ca_files: Sequence[Path], secrets: Secrets) -> Ways:
    """How the servers of `spec` are reached. Raises InvalidSpec where a bundle or a Secret is missing or is none."""
    return Ways(Way(context_of(spec.transfer.tls, ca_files), _credential(spec, secrets)))


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
            hosts = {urlsplit(url).netloc.rpartition("@")[2].lower() for url in (manifest_url, *(f.url for f in files))}
        case S3Source() | OCISource() as store:
            hosts = {urlsplit(store.base).netloc.lower()}
    hosts.discard("")
    if len(hosts) > 1:
        raise InvalidSpec(
            f"spec.auth: the source's files are on {len(hosts)} hosts ({', '.join(sorted(hosts)[:3])}, …); list in the"
            " Secret's key allowedHosts which of them may see it"
        )
    return frozenset(hosts)
