"""Resolves ``spec.source`` to a Manifest, pinned to one revision.

A new source is one module with an ``async def resolve(source, client) -> Manifest``, and one line in ``_RESOLVERS``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from modelferry.errors import SourceUnavailable, UnknownHost
from modelferry.http.routes import Routes
from modelferry.manifest import Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.source import HTTPSource, HuggingFaceSource, ModelScopeSource, Source
from modelferry.sources import http_files, huggingface, modelscope, oci, s3
from modelferry.sources.retry import Retry
from modelferry.sources.source_client import SourceClient

_RESOLVERS: dict[type, Callable[[Any, SourceClient], Awaitable[Manifest]]] = {
    HTTPSource: http_files.resolve,
    HuggingFaceSource: huggingface.resolve,
    ModelScopeSource: modelscope.resolve,
    S3Source: s3.resolve,
    OCISource: oci.resolve,
}


async def resolve(
    source: Source, routes: Routes, *, allow_plain_http: bool = False, mirrored: bool = False, deadline: float = 60.0
) -> Manifest:
    """The manifest of `source` as it is now.

    `routes`: how its servers are reached. `mirrored`: there are mirrors; so if `source` declares size and digest of
    every file, it is not requested, and may be down. `deadline`: seconds without any success after which it is given
    up. Raises PlainHTTPRefused, InvalidSpec, or a SourceError: NotFound, Denied, UnknownHost, CertificateRefused,
    SizeMismatch, ServerMisbehaves, SourceUnavailable.
    """
    optional = source if mirrored and isinstance(source, HTTPSource) else None
    if optional and (declared := http_files.declared(optional)):
        return declared
    try:
        async with SourceClient(
            routes.for_mirror(SOURCE), allow_plain_http=allow_plain_http, retry=Retry(deadline)
        ) as client:
            return await _RESOLVERS[type(source)](source, client)
    except (SourceUnavailable, UnknownHost) as error:
        if not optional:
            raise
        remedy = "With size and sha256 or md5 of every file in spec.source.http.files, the mirrors do without it"
        raise type(error)(f"{error.message}. {remedy}", reason=error.reason, file=error.file) from error
