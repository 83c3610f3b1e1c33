"""Where a body ends (RFC 9112 section 6), and its content without the framing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelferry.http.wire.behavior import ServerBehavior
from modelferry.http.wire.head import Framing, Head, ProtocolError

#: Bytes of one chunk-size line with its extensions, and of all trailers together.
MAX_SIZE_LINE = 1024
MAX_TRAILERS = 8 * 1024

_LENGTH = re.compile(r"\d{1,18}")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*(?:;.*)?")


def framing_of(head: Head) -> Framing:
    """How the body of this response to a GET ends; raises ProtocolError where two readers could disagree."""
    if head.status in (204, 304):
        return Framing("length", 0)
    # Only what HTTP calls white space: str.strip() also removes 0xA0 and 0x85, which another reader does not.
    lengths = {part.strip(" \t") for value in head.all("content-length") for part in value.split(",")}
    coding = head.get("transfer-encoding")
    if coding is not None:
        if lengths:
            raise ProtocolError(
                ServerBehavior.LENGTH_AND_TRANSFER_ENCODING, "sent both Content-Length and Transfer-Encoding"
            )
        if head.version < (1, 1) or coding.strip(" \t").lower() != "chunked":
            raise ProtocolError(
                ServerBehavior.LENGTH_AND_TRANSFER_ENCODING,
                "sent a Transfer-Encoding that is not allowed here",
            )
        return Framing("chunked")
    if not lengths:
        return Framing("close")
    # A list of equal values is one value (section 6.3, item 5).
    if len(lengths) > 1:
        raise ProtocolError(ServerBehavior.CONFLICTING_LENGTHS, "sent conflicting Content-Lengths")
    length = lengths.pop()
    if not _LENGTH.fullmatch(length):
        raise ProtocolError(ServerBehavior.CONFLICTING_LENGTHS, "sent a Content-Length that is not a number")
    return Framing("length", int(length))


def keeps_alive(head: Head, framing: Framing) -> bool:
    """Whether the connection may carry another request after this body (RFC 9112 section 9.3)."""
    options = {option.strip().lower() for option in (head.get("connection") or "").split(",")}
    if framing.kind == "close" or "close" in options:
        return False
    return head.version >= (1, 1) or "keep-alive" in options


class Body:
    """Removes the framing. ``complete``: the body has ended by its own framing; ``after``: bytes of the last data that
    follow it."""

    def __init__(self, framing: Framing) -> None:
        self._chunked = _Chunked() if framing.kind == "chunked" else None
        self._left = framing.length if framing.kind == "length" else None
        self.complete = self._left == 0
        self.after = 0

    @property
    def surplus(self) -> bool:
        """Whether bytes follow it."""
        return self.after > 0

    @property
    def left(self) -> int | None:
        """Content bytes that are still to arrive; None where the framing does not say."""
        return self._left

    def content(self, data: memoryview) -> Iterator[memoryview]:
        """The content within `data`, in order; raises ProtocolError."""
        if self._chunked is not None:
            yield from self._chunked.content(data)
            self.complete, self.after = self._chunked.complete, self._chunked.after
        elif self._left is None:
            yield data
        else:
            taken = data[: self._left]
            self._left -= len(taken)
            self.complete, self.after = self._left == 0, len(data) - len(taken)
            if taken:
                yield taken

    def close(self) -> bool:
        """The connection ended: whether the body is complete by its framing. (The count of bytes says the rest.)"""
        return self.complete or (self._chunked is None and self._left is None)


class _Chunked:
    """The chunked coding (RFC 9112 section 7.1), bounded."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._left = 0
        self._expect = "size"  # size, data, end of data, trailer
        self._trailers = 0
        self.complete = False
        self.after = 0

    def content(self, data: memoryview) -> Iterator[memoryview]:
        at = 0
        while at < len(data):
            if self.complete:
                self.after = len(data) - at
                return
            if self._expect == "data":
                taken = data[at : at + self._left]
                at += len(taken)
                self._left -= len(taken)
                if self._left == 0:
                    self._expect = "end of data"
                yield taken
            else:
                at = self._take_line(data, at)

    def _take_line(self, data: memoryview, at: int) -> int:
        newline = bytes(data[at : at + MAX_TRAILERS + 2]).find(b"\n")
        end = len(data) if newline < 0 else at + newline + 1
        self._line += data[at:end]
        if len(self._line) > (MAX_TRAILERS if self._expect == "trailer" else MAX_SIZE_LINE):
            raise ProtocolError(ServerBehavior.INVALID_OR_OVERSIZED_HEAD, "sent an endless chunk-size line or trailer")
        if newline >= 0:
            if not self._line.endswith(b"\r\n"):
                raise ProtocolError(ServerBehavior.CHUNKED_BODY_CUT, "sent a malformed chunk")
            line = bytes(self._line[:-2])
            self._line.clear()
            self._on_line(line)
        return end

    def _on_line(self, line: bytes) -> None:
        if self._expect == "size":
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise ProtocolError(ServerBehavior.CHUNKED_BODY_CUT, "sent a malformed chunk size")
            self._left = int(match[1], 16)
            self._expect = "data" if self._left else "trailer"
        elif self._expect == "end of data":
            if line:
                raise ProtocolError(ServerBehavior.CHUNKED_BODY_CUT, "sent a chunk longer than its size")
            self._expect = "size"
        elif line:
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS:
                raise ProtocolError(
                    ServerBehavior.INVALID_OR_OVERSIZED_HEAD, f"sent more than {MAX_TRAILERS} bytes of trailers"
                )
        else:
            self.complete = True
