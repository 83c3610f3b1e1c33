"""The source ``http``: files named one by one, or by a checksum list. A request for the first byte of each returns its
size and ETag; there is none if mirrors have the files and everything is declared. Of a file without a digest it is for
the first kilobyte, which shows a web page in place of the file.

By GET with a range, because too many servers refuse HEAD or answer it wrongly (`HeadUnsupported` in
docs/hostile-servers.md).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from modelferry.errors import (
    Denied,
    InvalidSpec,
    NotFound,
    ServerMisbehaves,
    SizeMismatch,
    UnexpectedContent,
)
from modelferry.http.wire.fields import content_coding, content_length, content_range
from modelferry.manifest import FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed
from modelferry.manifest.sniffing import SNIFF_SIZE, mistaken_content
from modelferry.resource.source import HTTPFile, HTTPSource
from modelferry.sources.bounded_gather import bounded_gather
from modelferry.sources.checksum_list import decoded, files_of
from modelferry.sources.source_client import Head, SourceClient
from modelferry.values.urls import ascii_url, redact_url

log = logging.getLogger(__name__)

_LIST = "the checksum list"
#: Bytes of a checksum list: 2,000 files with the longest names make 1.2 MB.
_LONGEST_LIST = 2_000_000
#: Statuses by which a range may be refused.
_REFUSALS = {400, 403, 405, 406}
_FIRST_BYTE, _FIRST_BYTES = {"Range": "bytes=0-0"}, {"Range": f"bytes=0-{SNIFF_SIZE - 1}"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server reports about a file: ``size`` in bytes (None: unknown), and what tells its version from another
    (or empty)."""

    size: int | None
    validator: str


async def resolve(source: HTTPSource, client: SourceClient) -> Manifest:
    """The manifest of `source`; each file is requested. Raises what `modelferry.sources.resolve` lists."""
    files = source.files or await _listed(source.manifest_url, client)
    return _pinned(await bounded_gather(_entry(file, client) for file in files))


def declared(source: HTTPSource) -> Manifest | None:
    """The manifest of `source`, if the size and digest of all its files are declared; else None. Raises
    InvalidSpec."""
    entries = [
        FileEntry(file.path, file.size, file.digest, _locations(file))
        for file in source.files
        if file.size is not None and file.digest is not None
    ]
    return _pinned(tuple(entries)) if entries and len(entries) == len(source.files) else None


def facts_of(head: Head, file: str, *, pinned: bool = False) -> Facts:
    """Read the response to a request for the first bytes. ``pinned``: the file's digest is declared, which is of the
    stored bytes. Raises ServerMisbehaves where it is not valid."""
    coding = content_coding(head.headers.get("content-encoding"))
    if coding is not None and not pinned:
        raise ServerMisbehaves(
            f"{file}: {redact_url(head.url)}: {head}: the content is in {coding} although identity was requested; if"
            " the file is stored so, declare the digest of the stored bytes, else give another url",
            file=file,
        )
    validator = head.version_mark
    if head.status == 200 and "content-range" not in head.headers:
        return Facts(content_length(head.headers.get("content-length")), validator)
    if head.status not in (200, 206, 416):
        raise _misbehaves(head, file, "a GET of the first bytes is answered by 200 or 206")
    span = content_range(head.headers.get("content-range", ""))
    if span is None:
        raise _misbehaves(head, file, "its Content-Range is missing or unreadable")
    if span.total == 0:
        return Facts(0, validator)
    if head.status == 416 or span.start != 0:
        raise _misbehaves(head, file, "it is not about the first byte, which was requested")
    return Facts(span.total, validator)


async def _listed(url: str, client: SourceClient) -> tuple[HTTPFile, ...]:
    """The files of a checksum list, beside it: relative to the user's URL, not to where it was redirected."""
    head, body = await client.get(url, _LIST, limit=_LONGEST_LIST)
    if head.status != 200:
        raise _misbehaves(head, _LIST, "a GET is answered by 200")
    try:
        return files_of(decoded(body), url)
    except UnicodeDecodeError as error:
        raise InvalidSpec(
            f"spec.source.http.manifestURL: {redact_url(url)} is not text; give a list that sha256sum wrote"
        ) from error


async def _facts(file: HTTPFile, client: SourceClient) -> Facts:
    """What the server reports about `file`. Raises UnexpectedContent where it plainly is another one; if a digest is
    declared, that decides, unless the size is wrong already."""
    head, start = await _ranged(file, client)
    if head.status == 416 and "content-range" not in head.headers:
        # An empty file has no first byte, and some servers do not add its length.
        if file.size == 0:
            return Facts(0, head.version_mark)
        entire = await client.head(file.url, file.path)
        if entire.status == 200 and content_length(entire.headers.get("content-length")) == 0:
            head = entire
    facts = facts_of(head, file.path, pinned=file.digest is not None)
    if file.digest is not None and None not in (facts.size, file.size) and facts.size != file.size:
        with suppress(Denied, ServerMisbehaves):
            head, start = await client.peek(file.url, file.path, _FIRST_BYTES, size=SNIFF_SIZE)
    mistaken = mistaken_content(file.path, start, facts.size, head.headers.get("content-type", "")) if start else ""
    if mistaken:
        raise UnexpectedContent(f"{file.path}: {redact_url(head.url)} is {mistaken}", file=file.path)
    return facts


async def _ranged(file: HTTPFile, client: SourceClient) -> tuple[Head, bytes]:
    """The response to a request for the first byte of `file`, or, without a digest, for the first kilobyte, which is
    returned too. If the range is what is refused, the response to a HEAD."""
    statuses: list[int] = []

    def explain(head: Head, _: bytes) -> None:
        statuses.append(head.status)

    try:
        if file.digest is None:
            return await client.peek(file.url, file.path, _FIRST_BYTES, size=SNIFF_SIZE, explain=explain)
        return await client.head(file.url, file.path, _FIRST_BYTE, explain=explain), b""
    except (Denied, ServerMisbehaves):
        if not _REFUSALS.intersection(statuses[-1:]) or (head := await _without_range(file, client)) is None:
            raise
        return head, b""


async def _without_range(file: HTTPFile, client: SourceClient) -> Head | None:
    """The response to a HEAD; None if it is refused too. Some firewalls forbid ranges that begin at the first byte
    (rule 958291 of the OWASP ModSecurity Core Rule Set 2)."""
    try:
        head = await client.head(file.url, file.path, method="HEAD")
    except (Denied, NotFound, ServerMisbehaves):
        return None
    if head.status != 200:
        return None
    log.warning(
        "%s: %s: something on the way, such as a web application firewall, refuses requests for a range that begins at"
        " byte 0, and answers others; the file is fetched in one stream: ask its operator to allow ranges",
        file.path,
        redact_url(file.url),
    )
    return head


async def _entry(file: HTTPFile, client: SourceClient) -> FileEntry:
    facts = await _facts(file, client)
    if facts.size is not None and file.size is not None and facts.size != file.size:
        raise SizeMismatch(
            f"{file.path}: {redact_url(file.url)}: the server has {facts.size} bytes, {file.size} are declared; check"
            f" that url is that of the file; if its publisher states {facts.size} bytes, write size: {facts.size}",
            file=file.path,
        )
    size = facts.size if file.size is None else file.size
    if size is None:
        raise ServerMisbehaves(
            f"{file.path}: {redact_url(file.url)}: the server does not report the file's length; declare it as size",
            file=file.path,
        )
    return FileEntry(file.path, size, file.digest, _locations(file), validator="" if file.digest else facts.validator)


def _locations(file: HTTPFile) -> tuple[Location, ...]:
    """The user's own URL, not where it redirects to: a redirect's target is often signed and soon expires."""
    return (Location(ascii_url(file.url)),)


def _pinned(entries: tuple[FileEntry, ...]) -> Manifest:
    try:
        return content_addressed(entries)
    except ValueError as error:
        raise InvalidSpec(f"spec.source.http.files: {error}") from error


def _misbehaves(head: Head, file: str, why: str) -> ServerMisbehaves:
    return ServerMisbehaves(f"{file}: {redact_url(head.url)}: {head}: {why}; give another url", file=file)
