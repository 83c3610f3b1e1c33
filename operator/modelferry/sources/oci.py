"""The source ``oci``: the layers of an artifact in a registry, at the digest that its tag has now.

OCI Distribution Specification 1.1: one GET for the manifest, and one more where the tag names an index.
"""

from __future__ import annotations

import re

from modelferry.errors import Denied, DigestMismatch, InvalidSpec, ModelferryError, NotFound, ServerMisbehaves
from modelferry.manifest import FileEntry, Location, Manifest
from modelferry.resource.object_stores import OCISource
from modelferry.resource.source import MAX_FILES
from modelferry.sources.oci_manifest import ACCEPTED, Layer, digest_of, parse_manifest
from modelferry.sources.source_client import Head, SourceClient
from modelferry.values.spec_lines import add_auth
from modelferry.values.untrusted_json import parse_json

#: Bytes of a manifest: what registries accept (the specification requires 4 MiB).
_MAX_MANIFEST = 4 * 1024 * 1024
#: Hex digits of a manifest's digest in the revision: a label's value has 63 characters at most, and the digest has one
#: more; a Git commit's length is enough.
_REVISION_LENGTH = 40

#: How many tags an error lists.
_TAGS_LISTED = 10
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_NO_REPOSITORY = "RepositoryMissing"


async def resolve(source: OCISource, client: SourceClient) -> Manifest:
    """The manifest of what `source` names. Raises what `modelferry.sources.resolve` lists."""
    digest, found = await _manifest(source, source.digest or source.tag, client)
    if isinstance(found, str):
        digest, found = await _manifest(source, found, client)
    if isinstance(found, str):
        raise InvalidSpec(
            f"{source}: an index within an index; name a manifest by @sha256:…", reason="UnsupportedMediaType"
        )
    if len(found) > MAX_FILES:
        raise InvalidSpec(f"{source}: {len(found)} files, and {MAX_FILES} is the maximum; push fewer")
    files = tuple(sorted((_entry(source, layer) for layer in found), key=lambda file: file.path))
    try:
        return Manifest(digest.removeprefix("sha256:")[:_REVISION_LENGTH], files)
    except ValueError as error:
        raise InvalidSpec(f"{source}: {error}; push it again") from error


async def _manifest(source: OCISource, reference: str, client: SourceClient) -> tuple[str, tuple[Layer, ...] | str]:
    """The digest of the manifest that `reference`, a tag or a digest, names, and its content."""
    name = str(source)
    try:
        head, body = await client.get(
            f"{source.base}/manifests/{reference}",
            name,
            limit=_MAX_MANIFEST,
            headers={"Accept": ACCEPTED},
            explain=lambda head, body: registry_error(source, reference, head, body),
        )
    except NotFound as error:
        raise await _not_found(source, error, client) from error
    if head.status != 200:
        raise ServerMisbehaves(f"{name}: {head} to a GET of a manifest; is this a registry?")
    digest = digest_of(body)
    declared = reference if reference.startswith("sha256:") else head.headers.get("docker-content-digest", digest)
    if declared != digest:
        other = "requested" if declared == reference else "declared by the registry"
        raise DigestMismatch(
            f"{name}: the manifest is {digest}, and not the one {other}: something on the way changes it; ask the"
            " registry's operator"
        )
    kind = head.headers.get("content-type", "")
    return digest, parse_manifest(body, kind, name, keep_archives=source.keep_archives)


async def _not_found(source: OCISource, error: NotFound, client: SourceClient) -> NotFound:
    """`error`, with the tags that exist; or that there is no such repository, which some registries report only to a
    request for its tags."""
    name = str(source)
    try:
        _, body = await client.get(
            f"{source.base}/tags/list?n={_TAGS_LISTED}",
            name,
            limit=_MAX_MANIFEST,
            explain=lambda head, body: registry_error(source, "", head, body),
        )
        tags = ", ".join(sorted(filter(_TAG.fullmatch, map(str, parse_json(body)["tags"])))[:_TAGS_LISTED])
    except NotFound as missing:
        return missing if missing.reason == _NO_REPOSITORY else error
    except (ModelferryError, ValueError, TypeError, KeyError):
        return error
    return NotFound(f"{error.message}; there is {tags}", reason=error.reason) if tags else error


def registry_error(source: OCISource, reference: str, head: Head, body: bytes) -> ModelferryError | None:
    """The error, with its remedy, that a registry's response means; None where `SourceClient` names it. Pure."""
    where = f"{source}: {head}"
    codes = _codes(body)
    if head.status == 404 and "NAME_UNKNOWN" in codes:
        return NotFound(
            f"{where}: {source.host} has no repository {source.repository!r}; correct reference",
            reason="RepositoryMissing",
        )
    if head.status == 404:
        what = "manifest" if reference.startswith("sha256:") else "tag"
        return NotFound(
            f"{where}: there is no {what} {reference!r}; correct reference", reason=f"{what.capitalize()}Missing"
        )
    if head.status in (401, 403):
        return Denied(
            f"{where}: allow the user of spec.auth to pull {source.repository!r}, or give one that may:"
            f" {add_auth('username and password, or .dockerconfigjson,')}; a registry says the same where there is no"
            " such repository"
        )
    return None


def _codes(body: bytes) -> tuple[str, ...]:
    """The codes in a registry's error; they are made of capital letters and underscores."""
    try:
        errors = parse_json(body)["errors"]
        return tuple(code for item in errors if re.fullmatch(r"[A-Z_]{1,40}", code := str(item["code"])))
    except (ValueError, TypeError, KeyError):
        return ()


def _entry(source: OCISource, layer: Layer) -> FileEntry:
    location = Location(f"{source.base}/blobs/sha256:{layer.digest.hex}")
    return FileEntry(layer.path, layer.size, layer.digest, (location,))
