"""The grammar of file paths: the same in the CRD, in a manifest and on disk.

A path is relative, of at most 512 bytes; its segments are separated by single slashes, each of at most 200 bytes, and
none of them is empty, ``.`` or ``..``. No control characters, no backslash. Names that begin with ``.modelferry`` are
reserved.
"""

from __future__ import annotations

MAX_PATH = 512
MAX_SEGMENT = 200
RESERVED = ".modelferry"


def path_error(path: str) -> str | None:
    """What is wrong with `path`, as the end of a sentence; None if it is valid."""
    if not path:
        return "is empty"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if path.startswith("/"):
        return "is absolute; give it relative to the model's directory"
    if any(ord(letter) < 32 or ord(letter) == 127 or letter == "\\" for letter in path):
        return "holds a control character or a backslash"
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in path):
        return "is not valid Unicode"
    return next((error for segment in path.split("/") if (error := _segment_error(segment))), None)


def _segment_error(segment: str) -> str | None:
    if segment == "":
        return "has an empty segment"
    if segment in (".", ".."):
        return f"has a {segment!r} segment; a file stays inside the model's directory"
    if segment.startswith(RESERVED):
        return f"uses {RESERVED}*, a name that Modelferry keeps for itself"
    if len(segment.encode()) > MAX_SEGMENT:
        return f"has a segment longer than {MAX_SEGMENT} bytes"
    return None
