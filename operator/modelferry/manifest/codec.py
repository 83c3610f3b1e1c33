"""A manifest as bytes: canonical JSON, gzipped without a timestamp, so that equal manifests are equal bytes.

Gzip because a repository of 2,000 files makes 500 kB of JSON, and a ConfigMap holds 1 MiB.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from modelferry.manifest.entries import Digest, FileEntry, Location, Manifest

#: The version of the format. The controller counts it into the name of the stored manifest's ConfigMap, so that after
#: an upgrade the source is resolved again instead of reading an old format.
VERSION = 2


def encode(manifest: Manifest) -> bytes:
    """`manifest` as gzipped JSON."""
    files = [
        {
            "path": file.path,
            "size": file.size,
            "digest": str(file.digest) if file.digest else None,
            "validator": file.validator,
            "locations": [[location.mirror, location.url] for location in file.locations],
        }
        | ({"version": file.version} if file.version else {})
        for file in manifest.files
    ]
    body = {"version": VERSION, "revision": manifest.revision, "files": files}
    return gzip.compress(json.dumps(body, separators=(",", ":"), sort_keys=True).encode(), mtime=0)


def decode(data: bytes) -> Manifest:
    """The manifest in `data`. Raises ValueError if it is damaged or of another version."""
    try:
        body: dict[str, Any] = json.loads(gzip.decompress(data))
        if (version := body.get("version")) != VERSION:
            raise ValueError(
                f"the manifest has version {version!r}, and this Modelferry reads version {VERSION};"
                " resolve the source again"
            )
        return Manifest(body["revision"], tuple(_file(item) for item in body["files"]))
    except (OSError, EOFError, zlib.error, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error}") from error


def _file(item: dict[str, Any]) -> FileEntry:
    return FileEntry(
        path=item["path"],
        size=item["size"],
        digest=Digest.parse(item["digest"]) if item["digest"] else None,
        locations=tuple(Location(url, mirror) for mirror, url in item["locations"]),
        validator=item["validator"],
        version=item.get("version", ""),
    )
