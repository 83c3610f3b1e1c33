"""The TLS context of an agent: spec.transfer.tls (or a mirror's tls) and the CA bundles from the command line."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from modelferry.agent.client_certificate import load_client_certificate
from modelferry.agent.secrets import Secrets
from modelferry.errors import InvalidSpec
from modelferry.http.routes import ClientIdentity
from modelferry.http.tls.contexts import client_context
from modelferry.resource.transfer import TLS


def add_ca_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--ca-file`` and ``--mirror-ca``, which may be repeated."""
    help_ = "PEM certificates to trust in addition to the system's (may be repeated)"
    parser.add_argument("--ca-file", type=Path, action="append", default=[], metavar="FILE", help=help_)
    help_ = "the same for one mirror of spec.mirrors (may be repeated)"
    parser.add_argument(
        "--mirror-ca", type=_name_and_file, action="append", default=[], metavar="NAME=FILE", help=help_
    )


def _name_and_file(text: str) -> tuple[str, Path]:
    name, sign, file = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError("must be NAME=FILE")
    return name, Path(file)


def tls_context(tls: TLS, ca_files: Sequence[Path], *, field: str = "spec.transfer.tls") -> ssl.SSLContext:
    """The context for connections under `tls`, the value of the field `field`. Raises InvalidSpec if a CA bundle is
    missing or invalid."""
    if tls.ca and any(not file.exists() for file in ca_files):
        bundle = f"{tls.ca.kind} {tls.ca.name!r} with the key {tls.ca.key!r}"
        remedy = "create it in the artifact's namespace, or correct the field"
        raise InvalidSpec(f"{field}.ca: there is no {bundle}: {remedy}", reason="CABundleMissing")
    return client_context(*ca_files, oldest=tls.min_version, pins=tls.pins)


def client_identity(
    tls: TLS,
    ca_files: Sequence[Path],
    secrets: Secrets,
    default_hosts: Callable[[str], frozenset[str]],
    *,
    field: str = "spec.transfer.tls",
) -> ClientIdentity | None:
    """The client certificate of `tls`, the value of the field `field`; None if it has none.

    It is sent to the hosts in the Secret's key ``allowedHosts``, or else to those that `default_hosts` returns for the
    name of the field. Raises InvalidSpec, like `load_client_certificate` and `tls_context`.
    """
    if tls.client is None:
        return None
    certificate_field, context = f"{field}.clientCertificate", tls_context(tls, ca_files, field=field)
    secret = load_client_certificate(context, tls.client.name, secrets, certificate_field)
    return ClientIdentity(context, secret.hosts or default_hosts(certificate_field))
