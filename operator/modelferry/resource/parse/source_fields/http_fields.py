"""``spec.source.http``."""

from __future__ import annotations

from modelferry.manifest import Digest
from modelferry.manifest.entries import DIGEST_LENGTHS, LISTED_ALGORITHMS
from modelferry.manifest.paths import path_error
from modelferry.resource.source import MAX_FILES, HTTPFile, HTTPSource
from modelferry.resource.spec_fields import Fields
from modelferry.values.urls import url_error

_MAX_SIZE = 2**53  # the largest integer that every JSON parser reads exactly


def parse_http(fields: Fields) -> HTTPSource:
    """The source; errors are added to `fields`."""
    has_files = fields.has("files")
    files = [_file(Fields(item, path, fields.errors)) for path, item in fields.items("files", MAX_FILES)]
    manifest_url = fields.text("manifestURL")
    if manifest_url and (error := url_error(manifest_url)):
        fields.add_error("manifestURL", error)
    if bool(manifest_url) == has_files:
        fields.errors.add(fields.path, "give files or manifestURL, not both and not none")
    elif has_files and not files:
        fields.add_error("files", "must list at least one file")
    fields.reject_unknown()
    seen: set[str] = set()
    for number, file in enumerate(files):
        if file.path in seen:
            fields.add_error(f"files[{number}].path", f"{file.path!r} is listed twice")
        seen.add(file.path)
    return HTTPSource(tuple(files), manifest_url)


def _file(fields: Fields) -> HTTPFile:
    path, url = fields.text("path", required=True), fields.text("url", required=True)
    if path and (error := path_error(path)):
        fields.add_error("path", f"{path!r} {error}")
    if url and (error := url_error(url)):
        fields.add_error("url", error)
    if fields.has("sha256") and fields.has("md5"):
        fields.add_error("md5", "give sha256 or md5, not both")
    digests = [digest for name in LISTED_ALGORITHMS if (digest := _digest(fields, name))]
    size = fields.number("size", None, 0, _MAX_SIZE)
    fields.reject_unknown()
    return HTTPFile(path, url, digests[0] if digests else None, size)


def _digest(fields: Fields, algorithm: str) -> Digest | None:
    if not fields.has(algorithm):
        return None
    value = fields.text(algorithm)
    try:
        return Digest(algorithm, value)
    except ValueError:
        length = DIGEST_LENGTHS[algorithm]
        fields.add_error(
            algorithm, f"must be {length} lower-case hexadecimal digits, not {len(value)} characters {value[:70]!r}"
        )
        return None
