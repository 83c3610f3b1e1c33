"""``spec.source.http``."""

from __future__ import annotations

from modelferry.manifest import Digest
from modelferry.manifest.model import DIGEST_LENGTHS, LISTED
from modelferry.manifest.paths import path_fault
from modelferry.manifest.urls import url_fault
from modelferry.resource.fields import Fields
from modelferry.resource.source import MAX_FILES, HTTPFile, HTTPSource

_MAX_SIZE = 2**53  # what JSON numbers carry exactly


def http(fields: Fields) -> HTTPSource:
    """Its fields; what is wrong is among the faults."""
    has_files = fields.has("files")
    files = [_file(Fields(item, path, fields.faults)) for path, item in fields.items("files", MAX_FILES)]
    manifest_url = fields.text("manifestURL")
    if manifest_url and (fault := url_fault(manifest_url)):
        fields.fault("manifestURL", fault)
    if bool(manifest_url) == has_files:
        fields.faults.add(fields.path, "give files or manifestURL, not both and not none")
    elif has_files and not files:
        fields.fault("files", "must list at least one file")
    fields.done()
    seen: set[str] = set()
    for number, file in enumerate(files):
        if file.path in seen:
            fields.fault(f"files[{number}].path", f"{file.path!r} is listed twice")
        seen.add(file.path)
    return HTTPSource(tuple(files), manifest_url)


def _file(fields: Fields) -> HTTPFile:
    path, url = fields.text("path", required=True), fields.text("url", required=True)
    if path and (fault := path_fault(path)):
        fields.fault("path", f"{path!r} {fault}")
    if url and (fault := url_fault(url)):
        fields.fault("url", fault)
    if fields.has("sha256") and fields.has("md5"):
        fields.fault("md5", "give sha256 or md5, not both")
    digests = [digest for name in LISTED if (digest := _digest(fields, name))]
    size = fields.number("size", None, 0, _MAX_SIZE)
    fields.done()
    return HTTPFile(path, url, digests[0] if digests else None, size)


def _digest(fields: Fields, algorithm: str) -> Digest | None:
    if not fields.has(algorithm):
        return None
    value = fields.text(algorithm)
    try:
        return Digest(algorithm, value)
    except ValueError:
        length = DIGEST_LENGTHS[algorithm]
        fields.fault(
            algorithm, f"must be {length} lower-case hexadecimal digits, not {len(value)} characters {value[:70]!r}"
        )
        return None
