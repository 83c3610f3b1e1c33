"""Whom an agent trusts: spec.transfer.tls and the bundles that were put before it, as one TLS context."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from modelferry.agent.client_certificate import identify
from modelferry.agent.secrets import Secrets
from modelferry.errors import InvalidSpec
from modelferry.http.routes import ClientIdentity
from modelferry.http.tls.contexts import client_context
from modelferry.resource.transfer import TLS


def add_ca_file(parser: argparse.ArgumentParser) -> None:
    """Declare ``--ca-file``, which may be given several times."""
    words = "PEM certificates to trust beside the system's (may be given again)"
    parser.add_argument("--ca-file", type=Path, action="append", default=[], metavar="FILE", help=words)
    words = "the same for one mirror of spec.mirrors (may be given again)"
    parser.add_argument("--mirror-ca", type=_named, action="append", default=[], metavar="NAME=FILE", help=words)


def _named(text: str) -> tuple[str, Path]:
    name, sign, file = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError("give NAME=FILE")
    return name, Path(file)


def context_of(tls: TLS, ca_files: Sequence[Path], *, where: str = "spec.transfer.tls") -> ssl.SSLContext:
    """The context for connections by `tls`, which stands in the field `where`. Raises InvalidSpec where a bundle is
    missing or is none."""
    if tls.ca and any(not file.exists() for file in ca_files):
        wanted = f"{tls.ca.kind} {tls.ca.name!r} with the key {tls.ca.key!r}"
        way_out = "create it in the artifact's namespace, or correct the field"
        raise InvalidSpec(f"{where}.ca: there is no {wanted}: {way_out}", reason="CABundleMissing")
    return client_context(*ca_files, oldest=tls.min_version, pins=tls.pins)


def identity_of(
    tls: TLS,
    ca_files: Sequence[Path],
    secrets: Secrets,
    own: Callable[[str], frozenset[str]],
    *,
    where: str = "spec.transfer.tls",
) -> ClientIdentity | None:
    """Who we are to servers by `tls`, which stands in the field `where`; None where it does not say.

    It is shown to the hosts in the Secret's key ``allowedHosts``, or else to those that `own` finds, which is told the
    field. Raises InvalidSpec as `identify` and `context_of`.
    """  # fmt: skip
    if tls.client is None:
        return None
    field, context = f"{where}.clientCertificate", context_of(tls, ca_files, where=where)
    secret = identify(context, tls.client.name, secrets, field)
    return ClientIdentity(context, secret.hosts or own(field))
