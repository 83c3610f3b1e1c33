"""What the first bytes of a file plainly are, where its name says something else: a sign-in page that a server sends
with status 200 in place of the weights, or the pointer that a Git repository has in place of a large file. Pure.

Only what cannot be meant is named. A file whose digest is declared is judged by its digest instead.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from modelferry.values.spec_lines import ADD_TOKEN
from modelferry.values.untrusted_json import parse_json

#: Bytes that are looked at. A Git LFS pointer has less (Git LFS specification, "The Pointer").
SNIFF_SIZE = 1024

_LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v1\r?\n")
_LFS_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})\r?$", re.MULTILINE)
_LFS_LENGTH = re.compile(rb"^size (\d{1,18})\r?$", re.MULTILINE)
#: git-annex: the target of its symbolic link, or its pointer file.
_ANNEX = re.compile(rb"(?:\.\./)*(?:\.git)?/?annex/objects/\S+\s*")
#: What may stand before the root element of a page.
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s+|<\?xml[^>]*>|<!--.*?-->)*", re.DOTALL)
_PAGE = re.compile(rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_XML_ERROR = re.compile(rb"<(?:\w+:)?(?:Error|Fault|Envelope)[\s>]")

_PAGES = {".html", ".htm", ".xhtml", ".xht", ".shtml", ".mht", ".mhtml"}
#: Names of text: an error message of a server in JSON or XML could be meant.
_TEXTS = {
    "", ".json", ".jsonl", ".ndjson", ".geojson", ".ipynb", ".map", ".txt", ".md", ".rst", ".csv", ".tsv", ".log",
    ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".py", ".js", ".jinja", ".jinja2", ".j2", ".xml", ".svg",
    ".tokens", ".vocab", ".index",
}  # fmt: skip


def mistaken_content(path: str, start: bytes, size: int | None, media_type: str = "") -> str:
    """What a file that begins with `start` plainly is instead of what the name of `path` says, with the remedy, as the
    end of a sentence that begins with "is"; empty if nothing speaks against it.

    `size`: bytes of the file, None if that is unknown. `media_type` is the response's Content-Type, where there is one.
    """
    name, kind = PurePosixPath(path).suffix.lower(), media_type.partition(";")[0].strip().lower()
    start = start[:SNIFF_SIZE]
    if _LFS.match(start):
        return _lfs_pointer(start)
    if _ANNEX.fullmatch(start) and len(start) == size:
        return "a git-annex pointer, and not the file that it stands for; give the url of the file itself"
    content = start[_end_of_prolog(start) :]
    if name not in _PAGES and (_PAGE.match(content) or (kind == "text/html" and content.startswith(b"<"))):
        return (
            "a web page, and not the file: the server asks to sign in, or the url is that of a page about the file;"
            f" give the url of the file itself, or the credential that it requires: {ADD_TOKEN}"
        )
    if name in _TEXTS or name in _PAGES:
        return ""
    if _is_json(content, complete=len(start) == size, kind=kind) or _XML_ERROR.match(content):
        return (
            "a message of the server, such as an error, and not the file; request the url with curl to read it, then"
            f" correct url, or give the credential that it requires: {ADD_TOKEN}"
        )
    return ""


def _lfs_pointer(start: bytes) -> str:
    oid, length = _LFS_OID.search(start), _LFS_LENGTH.search(start)
    said = "a Git LFS pointer, and not the file that it stands for"
    if oid and length:
        said += f" (sha256: {oid[1].decode()}, size: {int(length[1])})"
    return (
        f"{said}; give the url that a browser downloads the file from (on GitHub it begins with"
        " https://media.githubusercontent.com/media/, on Hugging Face it has /resolve/ instead of /raw/)"
    )


def _end_of_prolog(start: bytes) -> int:
    match = _PROLOG.match(start)
    return match.end() if match else 0


def _is_json(content: bytes, *, complete: bool, kind: str) -> bool:
    """Is this a JSON object? The media type says so, or, of a short file, the content alone."""
    if not content.startswith(b"{"):
        return False
    if kind.endswith(("/json", "+json")):
        return True
    try:
        return complete and isinstance(parse_json(content), dict)
    except ValueError:
        return False
