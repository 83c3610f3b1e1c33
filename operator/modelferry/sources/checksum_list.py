"""A checksum list in the format of ``sha256sum`` and ``md5sum``, beside the files that it lists. Pure.

Each line is a digest in hex, a space, a space or ``*``, and a path relative to the list. A line that begins with a
backslash has an escaped name (with a newline, for example), which no path may have.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

from modelferry.errors import InvalidSpec
from modelferry.manifest import Digest
from modelferry.manifest.entries import DIGEST_LENGTHS, LISTED_ALGORITHMS
from modelferry.manifest.paths import path_error
from modelferry.resource.source import MAX_FILES, HTTPFile

_LINE = re.compile(r"(?P<hex>[0-9A-Fa-f]+) [ *](?P<path>.+)")
_ALGORITHMS = {DIGEST_LENGTHS[name]: name for name in LISTED_ALGORITHMS}


def files_of(text: str, url: str) -> tuple[HTTPFile, ...]:
    """The files in the list at `url`, which are beside it. Raises InvalidSpec that names the line."""
    files = [_file(number, line, url) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not files:
        raise _invalid("it lists no file")
    if len(files) > MAX_FILES:
        raise _invalid(f"it lists {len(files)} files; {MAX_FILES} is the maximum")
    seen: set[str] = set()
    for file in files:
        if file.path in seen:
            raise _invalid(f"{file.path!r} is listed twice")
        seen.add(file.path)
    return tuple(files)


def _file(number: int, line: str, url: str) -> HTTPFile:
    match = _LINE.fullmatch(line.rstrip("\r"))
    algorithm = _ALGORITHMS.get(len(match["hex"])) if match else None
    if match is None or algorithm is None:
        raise _invalid(f"line {number} is not one of sha256sum or md5sum: {line[:80]!r}")
    path = match["path"].removeprefix("./")
    if error := path_error(path):
        raise _invalid(f"line {number}: path {path!r} {error}")
    return HTTPFile(path, urljoin(url, quote(path)), Digest(algorithm, match["hex"].lower()))


def _invalid(why: str) -> InvalidSpec:
    return InvalidSpec(
        f"spec.source.http.manifestURL: {why}; give a list that sha256sum wrote in the model's directory"
    )
