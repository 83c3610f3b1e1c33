"""A checksum list as ``sha256sum``, ``md5sum``, ``cksum`` or ``openssl dgst`` write it, beside the files that it lists.
Pure.

A line is a digest in hex, a space, a space or ``*``, and a path relative to the list (one space or tabs are read too);
or ``SHA256 (path) = hex`` (BSD), ``SHA256(path)= hex`` (openssl). Empty lines and those that begin with ``#`` or ``;``
are comments. Of a list with an OpenPGP signature in clear text (RFC 9580 section 7) the text is read; the signature is
not verified. A line that begins with a backslash has an escaped name (with a newline, for example), which no path may
have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urljoin, urlsplit

from modelferry.errors import InvalidSpec
from modelferry.manifest import Digest
from modelferry.manifest.entries import DIGEST_LENGTHS, LISTED_ALGORITHMS
from modelferry.manifest.paths import path_error
from modelferry.resource.source import MAX_FILES, HTTPFile

_LINE = re.compile(r"(?P<hex>[0-9A-Fa-f]{32,})(?: [ *]|\t+| )(?P<path>.+)")
_TAGGED = re.compile(r"(?P<name>[A-Za-z][\w/-]*) ?\((?P<path>.+)\) ?= ?(?P<hex>[0-9A-Fa-f]+)")
_ALGORITHMS = {DIGEST_LENGTHS[name]: name for name in LISTED_ALGORITHMS}
_TAGS = {"sha256": "sha256", "sha2-256": "sha256", "md5": "md5"}
#: Algorithms that are not supported, by the length of their digests, for the error.
_OTHERS = {40: "SHA-1", 56: "SHA-224", 96: "SHA-384", 128: "SHA-512"}
_SIGNED, _SIGNATURE, _END = (
    f"-----{words}-----" for words in ("BEGIN PGP SIGNED MESSAGE", "BEGIN PGP SIGNATURE", "END PGP SIGNATURE")
)


def decoded(body: bytes) -> str:
    """The text of a list: UTF-8, or the UTF-16 that Windows shells write, without a byte order mark. Raises
    UnicodeDecodeError."""
    return body.decode("utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")


def files_of(text: str, url: str) -> tuple[HTTPFile, ...]:
    """The files in the list at `url`, which are beside it; without the list itself, which cannot have its own digest.
    Raises InvalidSpec that names the line."""
    files = [file for number, line in _lines(text) if not _is_list(file := _file(number, line, url), url)]
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


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that list a file, with their numbers."""
    part = "list"
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r")
        mark = line.rstrip()
        if mark == _SIGNED and part == "list":
            part = "fields"
        elif part == "fields":
            part = "fields" if mark else "signed"
        elif part == "signature":
            part = "list" if mark == _END else part
        elif mark == _SIGNATURE and part == "signed":
            part = "signature"
        elif mark and not line.startswith(("#", ";")):
            yield number, line.removeprefix("- ") if part == "signed" else line
    if part not in ("list", "signed"):
        raise _invalid("its signature is cut off")


def _file(number: int, line: str, url: str) -> HTTPFile:
    if line.startswith("\\"):
        raise _invalid(f"line {number} has an escaped name, with a line end or a backslash, which no path may have")
    if tagged := _TAGGED.fullmatch(line):
        match, algorithm, other = tagged, _TAGS.get(tagged["name"].lower()), tagged["name"]
    elif plain := _LINE.fullmatch(line):
        length = len(plain["hex"])
        match, algorithm, other = plain, _ALGORITHMS.get(length), _OTHERS.get(length, f"{length} digits")
    else:
        raise _invalid(f"line {number} is not one of sha256sum or md5sum: {line[:80]!r}")
    if algorithm is None:
        raise _invalid(f"line {number} has a digest of {other[:20]}; sha256 and md5 are read")
    if len(match["hex"]) != DIGEST_LENGTHS[algorithm]:
        raise _invalid(f"line {number} has {len(match['hex'])} digits; {algorithm} has {DIGEST_LENGTHS[algorithm]}")
    path = match["path"].removeprefix("./")
    if error := path_error(path):
        raise _invalid(f"line {number}: path {path!r} {error}")
    return HTTPFile(path, _beside(url, path), Digest(algorithm, match["hex"].lower()))


def _beside(url: str, path: str) -> str:
    """The URL of the file at `path` beside the list at `url`, on the same origin. The query is kept where it permits
    more than the list: an Azure SAS of a container, a directory or an account."""
    beside, query = urljoin(url, quote(path)), urlsplit(url).query
    return f"{beside}?{query}" if _is_shared_access(query) else beside


def _is_shared_access(query: str) -> bool:
    fields = parse_qs(query)
    shared = fields.get("sr") in (["c"], ["d"]) or "o" in "".join(fields.get("srt", []))
    return "sig" in fields and "sv" in fields and shared


def _is_list(file: HTTPFile, url: str) -> bool:
    return urlsplit(file.url)[:3] == urlsplit(url)[:3]


def _invalid(why: str) -> InvalidSpec:
    return InvalidSpec(
        f"spec.source.http.manifestURL: {why}; give a list that sha256sum wrote in the model's directory"
    )
