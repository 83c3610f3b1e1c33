"""The source ``s3``: the objects of a bucket below a prefix, each at the version, or the ETag, that it has now.

One ListObjectsV2 for a thousand objects, and a HeadObject for each that is selected, because it alone reports version
and checksum.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from modelferry.errors import InvalidSpec, ModelferryError, NotFound, ServerMisbehaves
from modelferry.http.auth.sigv4 import object_path
from modelferry.http.wire.fields import content_length
from modelferry.manifest import FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed
from modelferry.manifest.paths import path_error
from modelferry.resource.object_stores import S3Source
from modelferry.resource.source import MAX_FILES
from modelferry.sources.bounded_gather import bounded_gather
from modelferry.sources.file_patterns import selected
from modelferry.sources.s3_responses import ListedObject, Page, listing_error, object_error, object_facts, parse_page
from modelferry.sources.source_client import Head, SourceClient

_FIELD = "spec.source.s3"
#: Bytes of a page: a thousand keys of 1,024 bytes, each escaped to three times as much, and 500 bytes around each.
_MAX_PAGE = 4_000_000
#: Objects that are searched for those that match.
_MAX_LISTED = 100_000
#: Without it HeadObject does not return the checksum.
_CHECKSUMS = {"x-amz-checksum-mode": "ENABLED"}


async def resolve(source: S3Source, client: SourceClient) -> Manifest:
    """The manifest of what `source` names. Raises what `modelferry.sources.resolve` lists."""
    found = await _selected(source, client)
    entries = await bounded_gather(_entry(source, path, item, client) for path, item in found.items())
    try:
        return content_addressed(entries)
    except ValueError as error:
        raise InvalidSpec(f"{_FIELD}: {error}; exclude one of them") from error


async def _selected(source: S3Source, client: SourceClient) -> dict[str, ListedObject]:
    """The objects that are selected, by their paths below the prefix."""
    found: dict[str, ListedObject] = {}
    listed, token = 0, ""
    while True:
        page = await _page(source, token, client)
        listed += len(page.objects)
        for item in page.objects:
            path = item.key.removeprefix(source.directory)
            # Consoles create an empty object for a directory.
            if path and not path.endswith("/") and selected(path, source.include, source.exclude):
                found[path] = item
        token = page.next
        if not token:
            break
        if listed >= _MAX_LISTED:
            raise InvalidSpec(f"{_FIELD}.prefix: more than {_MAX_LISTED} objects are below it; use a longer one")
    if not found:
        raise NotFound(
            f"s3: bucket {source.bucket!r} has {listed} objects below {source.directory or 'its root'!r}, and none of"
            " them is selected; correct prefix, include or exclude"
        )
    if len(found) > MAX_FILES:
        raise InvalidSpec(
            f"{_FIELD}: {len(found)} files are selected, and {MAX_FILES} is the maximum; select fewer with include"
        )
    for path in found:
        if error := path_error(path):
            raise InvalidSpec(f"{_FIELD}: object {path!r} {error}; exclude it")
    return found


async def _page(source: S3Source, token: str, client: SourceClient) -> Page:
    query = {"list-type": "2", "encoding-type": "url", "prefix": source.directory}
    query |= {"continuation-token": token} if token else {}
    url = f"{source.base}/?{urlencode(query, quote_via=quote, safe='')}"
    where = f"the listing of bucket {source.bucket!r}"
    _, body = await client.get(
        url, where, limit=_MAX_PAGE, explain=lambda head, body: listing_error(source, head, body)
    )
    try:
        return parse_page(body)
    except ValueError as error:
        raise ServerMisbehaves(f"{where}: {error}; check endpoint and style") from error


async def _entry(source: S3Source, path: str, item: ListedObject, client: SourceClient) -> FileEntry:
    url = f"{source.base}/{object_path(item.key)}"

    def explain(head: Head, _: bytes) -> ModelferryError | None:
        return object_error(source, path, head)

    head = await client.head(url, path, _CHECKSUMS, method="HEAD", explain=explain)
    facts = object_facts(head, path)
    size = content_length(head.headers.get("content-length"))
    if head.status != 200 or size is None:
        raise ServerMisbehaves(f"{path}: {head} to a HeadObject, without a length; check endpoint and style", file=path)
    location = Location(f"{url}?versionId={quote(facts.version, safe='')}" if facts.version else url)
    return FileEntry(path, size, facts.digest, (location,), validator="" if facts.digest else facts.etag)
