"""What is said of files whose source declares no digest: the same words in the command, status and Events. Pure.

Such a file is complete, but nothing says whether its content is right; and if its server sends neither ETag nor
Last-Modified, nothing shows that it was replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelferry.manifest import FileEntry, Manifest
from modelferry.resource.object_stores import S3Source
from modelferry.resource.source import HTTPSource, Source

#: Files of which the computed digest is printed.
_LINES = 3


def not_verified(paths: Sequence[str]) -> str:
    """``not verified: no digest declared for a.bin and 2 other files``; empty without `paths`, those of such files."""
    return f"not verified: no digest declared for {_some(paths)}" if paths else ""


def completeness(paths: Sequence[str]) -> str:
    """``complete and verified``, or why not; `paths` as in `not_verified`."""
    return f"complete, {not_verified(paths)}" if paths else "complete and verified"


def remedy(source: Source, manifest: Manifest, computed: Mapping[str, str] | None = None) -> str:
    """What to change in the spec so that the files without a digest are verified, as a sentence without its full stop;
    empty if all have one. `computed`: the digests of the files as they arrived, ``algorithm:hex`` by path."""
    if not manifest.undeclared:
        return ""
    said = [_line(source, manifest.undeclared, computed or {})]
    if manifest.unpinned:
        said.append(
            f"nothing shows when {_some(_paths(manifest.unpinned))} is replaced at the source by another file of the"
            " same size, because its server sends no ETag and no Last-Modified"
        )
    return "; ".join(said)


def _line(source: Source, files: Sequence[FileEntry], computed: Mapping[str, str]) -> str:
    if isinstance(source, S3Source):
        return (
            "upload with a SHA-256 of the entire object (aws s3api put-object --checksum-algorithm SHA256), or list the"
            " files with `sha256: …` in spec.source.http.files"
        )
    if not isinstance(source, HTTPSource):
        return "the hub states no digest of them; to have them verified, list them in spec.source.http.files"
    known = [(file.path, computed[file.path].removeprefix("sha256:")) for file in files if file.path in computed]
    if not known:
        return "add `sha256: <the 64 digits that its publisher states>` to its entry in spec.source.http.files"
    lines = ", ".join(f"`sha256: {digest}` for {path}" for path, digest in known[:_LINES])
    more = f" ({len(known) - _LINES} more are in .modelferry-ready.json)" if len(known) > _LINES else ""
    return f"if its publisher states the same, add to its entry in spec.source.http.files: {lines}{more}"


def _paths(files: Sequence[FileEntry]) -> list[str]:
    return [file.path for file in files]


def _some(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return paths[0]
    return f"{paths[0]} and {len(paths) - 1} other file{'s' if len(paths) > 2 else ''}"
