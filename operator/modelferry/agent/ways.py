"""From a spec and the mounted Secrets to the ways on which an agent reaches each mirror."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from modelferry.agent.secrets import Secrets, add_secrets
from modelferry.agent.trust import add_ca_file, context_of
from modelferry.errors import InvalidSpec
from modelferry.net import credentials
from modelferry.net.credentials import NOBODY, Credential, Guarded
from modelferry.net.ways import Way, Ways
from modelferry.resource.source import HTTPSource, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec import Spec


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
    if spec.auth is None:
        return NOBODY
    data = secrets.read(spec.auth.name, "spec.auth")
    inner = credentials.of_secret(data)
    if isinstance(spec.source, ModelScopeSource) and (token := data.get("token")):
        inner = credentials.session(token)
    if inner is None:
        raise InvalidSpec(
            f"spec.auth: Secret {spec.auth.name!r} has the keys {', '.join(sorted(data))}; give it token, or username"
            " and password",
            reason="SecretMissing",
        )
    hosts = credentials.hosts_of(data.get("allowedHosts", "")) or _hosts(spec)
    return Guarded(inner, hosts, spec.transfer.tls.allow_plain_http)


def _hosts(spec: Spec) -> frozenset[str]:
    match spec.source:
        case HTTPSource(files, manifest_url):
            urls = [manifest_url, *(file.url for file in files)]
        case HuggingFaceSource(endpoint=endpoint) | ModelScopeSource(endpoint=endpoint):
            urls = [endpoint]
    hosts = {urlsplit(url).netloc.rpartition("@")[2].lower() for url in urls}
    hosts.discard("")
    if len(hosts) > 1:
        raise InvalidSpec(
            f"spec.auth: the source's files are on {len(hosts)} hosts ({', '.join(sorted(hosts)[:3])}, …); list in the"
            " Secret's key allowedHosts which of them may see it"
        )
    return frozenset(hosts)
