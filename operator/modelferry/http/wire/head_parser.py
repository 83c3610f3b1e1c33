"""An incremental parser of response heads, strict and bounded (RFC 9112 sections 2 to 5).

Two old forms are read, because they have one meaning: a head whose lines all end in a lone LF (section 2.2), and folded
lines (section 5.2) of fields that do not frame the content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from modelferry.http.wire.behavior import ServerBehavior
from modelferry.http.wire.head import Head, ProtocolError

#: Bytes of one head, status line to empty line. The longest in practice (signed redirects, CSP) stay below 16 KiB.
MAX_HEAD = 64 * 1024
#: Field lines of one head.
MAX_FIELDS = 256
#: Interim (1xx) responses before the final one; RFC 9110 section 15.2 sets no limit, so we do.
MAX_INTERIM = 8

_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?")
#: No white space before the colon (RFC 9112 section 5.1), no control characters (RFC 9110 section 5.5).
_FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[\t ]*"
)
#: White space at the beginning of a line that continues the one before.
_FOLD = re.compile(rb"[\t ]+")
#: Fields that are not read where they are folded: who does not read folded lines takes the content for another.
_FRAMING = (b"content-length:", b"transfer-encoding:", b"content-range:")


class HeadParser:
    """Feed it bytes until it has the final response's head; interim ones are skipped."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._interim = 0

    def feed(self, data: memoryview | bytes) -> tuple[Head | None, int]:
        """Take in `data`: the head once it is complete, and how many bytes of `data` it used (the rest is content).

        Raises ProtocolError where it is none, or larger than the caps.
        """
        used = 0
        while used < len(data):
            before = len(self._seen)
            self._seen += data[used : used + MAX_HEAD + 1]
            newline = self._newline()
            end = self._seen.find(newline * 2, max(0, before - 3))
            length = len(self._seen) if end < 0 else end + 2 * len(newline)
            if length > MAX_HEAD:
                raise ProtocolError(
                    ServerBehavior.INVALID_OR_OVERSIZED_HEAD, f"sent a head of more than {MAX_HEAD} bytes"
                )
            self._check_start()
            self._check_newlines(newline, length)
            if end < 0:
                return None, len(data)
            used += length - before
            head = parse_head(bytes(self._seen[:end]), newline)
            self._seen.clear()
            if head.status >= 200:
                return head, used
            self._count_interim(head)
        return None, used

    @property
    def empty(self) -> bool:
        """Whether nothing has arrived yet."""
        return not self._seen and not self._interim

    def _newline(self) -> bytes:
        """How the lines of this head end: as the first one does."""
        first = self._seen.find(b"\n")
        return b"\n" if first > 0 and self._seen[first - 1] != ord("\r") else b"\r\n"

    def _check_start(self) -> None:
        # What is not HTTP is reported at its first bytes, not at a timeout.
        if not self._seen.startswith(b"HTTP/"[: len(self._seen)]):
            raise ProtocolError(ServerBehavior.INVALID_OR_OVERSIZED_HEAD, "does not speak HTTP")

    def _check_newlines(self, newline: bytes, length: int) -> None:
        # A head in both forms has no end that every reader sees.
        mixed = self._seen.count(b"\n", 0, length) != self._seen.count(b"\r\n", 0, length)
        if newline == b"\n":
            mixed = self._seen.find(b"\r", 0, length) >= 0
        if mixed:
            raise ProtocolError(ServerBehavior.INVALID_OR_OVERSIZED_HEAD, "sent a head with two kinds of line ends")

    def _count_interim(self, head: Head) -> None:
        self._interim += 1
        if head.status == 101:
            raise ProtocolError(
                ServerBehavior.INVALID_OR_OVERSIZED_HEAD, "switched to a protocol that was not requested"
            )
        if self._interim > MAX_INTERIM:
            raise ProtocolError(
                ServerBehavior.INVALID_OR_OVERSIZED_HEAD, f"sent more than {MAX_INTERIM} interim responses"
            )


def parse_head(text: bytes, newline: bytes = b"\r\n") -> Head:
    """The head in `text` (without its empty line), whose lines end in `newline`; raises ProtocolError."""
    status_line, *lines = text.split(newline)
    status = _STATUS_LINE.fullmatch(status_line)
    if status is None:
        raise ProtocolError(ServerBehavior.INVALID_OR_OVERSIZED_HEAD, "sent a malformed status line")
    if status[1] != b"1":
        raise ProtocolError(
            ServerBehavior.INVALID_OR_OVERSIZED_HEAD, f"answered in HTTP/{status[1].decode()}.{status[2].decode()}"
        )
    if len(lines) > MAX_FIELDS:
        raise ProtocolError(ServerBehavior.INVALID_OR_OVERSIZED_HEAD, f"sent more than {MAX_FIELDS} header fields")
    return Head(int(status[3]), (int(status[1]), int(status[2])), tuple(_field(line) for line in _unfolded(lines)))


def _unfolded(lines: Iterable[bytes]) -> list[bytes]:
    """The field `lines`, each folded one as one line (RFC 9112 section 5.2)."""
    found: list[bytes] = []
    for line in lines:
        fold = _FOLD.match(line)
        if fold is None or not found or found[-1].lower().startswith(_FRAMING):
            found.append(line)
        else:
            found[-1] += b" " + line[fold.end() :]
    return found


def _field(line: bytes) -> tuple[str, str]:
    match = _FIELD_LINE.fullmatch(line)
    if match is None:
        raise ProtocolError(ServerBehavior.INVALID_OR_OVERSIZED_HEAD, "sent a malformed header field")
    return match[1].decode("ascii").lower(), match[2].decode("latin-1")
