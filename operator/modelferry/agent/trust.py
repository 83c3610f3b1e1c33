"""Whom an agent trusts: spec.transfer.tls and the bundles that were put before it, as one TLS context."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Sequence
from pathlib import Path

from modelferry.errors import InvalidSpec
from modelferry.net.tls import client_context
from modelferry.resource.transfer import TLS


def add_ca_file(parser: argparse.ArgumentParser) -> None:
    """Declare ``--ca-file``, which may be given several times."""
    words = "PEM certificates to trust beside the system's (may be given again)"
    parser.add_argument("--ca-file", type=Path, action="append", default=[], metavar="FILE", help=words)


def context_of(tls: TLS, ca_files: Sequence[Path]) -> ssl.SSLContext:
    """The context for all connections to sources. Raises InvalidSpec where a bundle is missing or is none."""
    if tls.ca and any(not file.exists() for file in ca_files):
        wanted = f"{tls.ca.kind} {tls.ca.name!r} with the key {tls.ca.key!r}"
        way_out = "create it in the artifact's namespace, or correct the field"
        raise InvalidSpec(f"spec.transfer.tls.ca: there is no {wanted}: {way_out}", reason="CABundleMissing")
    return client_context(*ca_files, oldest=tls.min_version, pins=tls.pins)
