"""Response heads and framings of any bytes: thousands of mutations from fixed seeds, the same at every run."""

from __future__ import annotations

import re
from random import Random

import pytest

from modelferry.engine.verdicts import Action, Expectation, ended, judge
from modelferry.http.wire import Body, Framing, Head, HeadParser, ProtocolError, Request, keeps_alive
from modelferry.http.wire.framing import framing_of
from modelferry.http.wire.head_parser import MAX_FIELDS, MAX_HEAD

REQUESTS = (Request("https://example.com/m", 100, 200), Request("https://example.com/m"))
EXPECTATIONS = (
    Expectation(1000),
    Expectation(1000, pinned=False),
    Expectation(1000, pinned=False, validator='"v1"', mark='"v1"'),
    Expectation(1000, validator='"v1"', alternatives=True, plain_http=True),
)

HEADS = (
    b'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-199/1000\r\nContent-Length: 100\r\nETag: "v1"\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: W/"v1"\r\nContent-Encoding: identity\r\n\r\n',
    b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 100-199/*\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://cdn.example.com/x?sig=1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 503 Busy\r\nRetry-After: Sun, 22 Nov 2026 10:00:40 GMT\r\nDate: Sun, 22 Nov 2026 10:00:10 GMT\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 416 No\r\nContent-Range: bytes */1000\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nLast-Modified: Sun, 22 Nov 2026 10:00:10 GMT\r\nContent-Digest: sha-256=:"
    + b"A" * 43
    + b"=:\r\nConnection: close\r\n\r\n",
)
#: What breaks parsers: half line ends, controls, signs, other digits and spaces, numbers without end, second fields.
TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b'"', b"-", b"+", b"*", b"/", b"=", b"0x10", b"1e3"),
    *(b"\xa0", b"\x85", b"\xb2", b"\xff", b"\xc3\xa9", b"9" * 19, b"99999999999999999999999999", b"-1", b"00100"),
    *(b"Content-Length: 5\r\n", b"content-length: 100\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Content-Range: bytes 0-0/1\r\n", b"Location: http://[::1\r\n", b"chunked"),
    *(b"Location: https://\xc3\xa9.example:99999999/\r\n", b"Retry-After: 1\r\n", b"HTTP/9.9", b" 206 ", b"bytes "),
)


def mutated(random: Random, text: bytes) -> bytes:
    """`text` after a few edits: a token put in, a piece cut out, doubled or moved, a byte changed."""
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        at, end = sorted((random.randrange(len(text) + 1), random.randrange(len(text) + 1)))
        end = min(end, at + random.choice((1, 2, 8, 40)))
        match random.randrange(5):
            case 0:
                text = text[:at] + random.choice(TOKENS) + text[at:]
            case 1:
                text = text[:at] + text[end:]
            case 2:
                text = text[:at] + text[at:end] * 2 + text[end:]
            case 3:
                text = text[:at] + text[end:] + text[at:end]
            case _:
                text = text[:at] + bytes([random.randrange(256)]) + text[at + 1 :]
    return text


def parsed(data: bytes, step: int) -> tuple[Head, int] | int | None:
    """The head of `data`, fed in pieces of `step` bytes, and how many it used; or the row of the ProtocolError; or None
    where more is to come."""
    parser, used = HeadParser(), 0
    try:
        for start in range(0, len(data), step):
            head, count = parser.feed(data[start : start + step])
            used += count
            if head is not None:
                return head, used
    except ProtocolError as error:
        return error.behavior
    return None


def framed(head: Head) -> Framing | int:
    """How its body ends, or the row of the ProtocolError."""
    try:
        return framing_of(head)
    except ProtocolError as error:
        return error.behavior


def lengths_of(head: Head) -> list[bytes]:
    """Every number that any reader could take for the length of the body."""
    values = ", ".join(head.all("content-length")).encode("latin-1")
    return [part.strip(b" \t") for part in values.split(b",")] if head.all("content-length") else []


@pytest.mark.parametrize("seed", range(4))
def test_any_head_is_taken_or_refused_by_the_wires_own_error_however_it_is_cut(seed: int) -> None:
    random = Random(seed)
    taken = 0
    for _ in range(2500):
        data = mutated(random, random.choice(HEADS))
        result = parsed(data, 1 << 20)
        assert result == parsed(data, random.randrange(1, 9)), data
        if result is None or isinstance(result, int):
            continue
        head, used = result
        taken += 1
        assert 200 <= head.status < 600
        assert used <= MAX_HEAD
        assert len(head.fields) <= MAX_FIELDS
        assert data[:used].endswith(b"\r\n\r\n")
        for name, value in head.fields:
            assert re.fullmatch(r"[!-9;-~]+", name), data
            assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value), data
    assert 250 < taken < 2250, "the mutations are too wild or too tame to say anything"


@pytest.mark.parametrize("seed", range(4))
def test_conflicting_framing_is_never_taken(seed: int) -> None:
    random = Random(100 + seed)
    for _ in range(2500):
        result = parsed(mutated(random, random.choice(HEADS)), 1 << 20)
        if result is None or isinstance(result, int):
            continue
        head = result[0]
        lengths, codings = lengths_of(head), head.all("transfer-encoding")
        framing = framed(head)
        if isinstance(framing, int):
            assert framing in (21, 22), head
            continue
        if head.status in (204, 304):
            assert framing == Framing("length", 0)
        elif codings:
            assert (framing, lengths) == (Framing("chunked"), []), head
            assert head.version >= (1, 1), head
            assert [coding.strip(" \t").lower() for coding in codings] == ["chunked"], head
        elif lengths:
            assert len(set(lengths)) == 1, head
            assert re.fullmatch(rb"[0-9]{1,18}", lengths[0]), head
            assert framing == Framing("length", int(lengths[0]))
        else:
            assert framing == Framing("close")
            assert not keeps_alive(head, framing)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_taken_is_what_was_asked_for_and_known(seed: int) -> None:
    random = Random(200 + seed)
    taken = 0
    for _ in range(2500):
        result = parsed(mutated(random, random.choice(HEADS)), 1 << 20)
        if result is None or isinstance(result, int):
            continue
        head, request, expectation = result[0], random.choice(REQUESTS), random.choice(EXPECTATIONS)
        verdict = judge(request, head, expectation)
        assert 0 <= verdict.behavior <= 56
        if verdict.action is Action.TAKE:
            taken += 1
            end = expectation.size if request.end is None else request.end
            assert head.status == (200 if request.end is None else 206), head
            assert verdict.start == request.start, head
            assert 0 < verdict.length <= end - request.start, head
            assert ended(verdict.length + 1, verdict, False) is not None
        elif verdict.action is Action.FOLLOW:
            assert verdict.location.startswith(("https://", "http://") if expectation.plain_http else "https://"), head
            Request(verdict.location, request.start, request.end).encode()
        elif verdict.action is not Action.RECONNECT:
            assert verdict.message, head
    assert taken > 50, "nothing was taken, so nothing was said"


def test_any_chunked_body_gives_its_content_or_the_wires_own_error_however_it_is_cut() -> None:
    random = Random(300)
    good = b"5\r\nhello\r\n10;name=value\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n"
    whole = 0
    for _ in range(5000):
        data = good if random.random() < 0.05 else mutated(random, good)
        result = decoded(data, 1 << 20)
        assert result == decoded(data, random.randrange(1, 6)), data
        whole += not isinstance(result, int) and result[1]
        if not isinstance(result, int):
            assert len(result[0]) < len(data), data
    assert whole > 250


def decoded(data: bytes, step: int) -> tuple[bytes, bool, bool] | int:
    """The content of a chunked body fed in pieces, whether it is complete, and whether more came; or the row."""
    body, found = Body(Framing("chunked")), b""
    try:
        for start in range(0, len(data), step):
            for piece in body.content(memoryview(data)[start : start + step]):
                found += piece
    except ProtocolError as error:
        return error.behavior
    return found, body.complete, body.surplus


@pytest.mark.parametrize("length", [0, 1, 5, 1000])
def test_a_counted_body_never_gives_more_than_its_length(length: int) -> None:
    random = Random(400 + length)
    for _ in range(200):
        data = random.randbytes(random.randrange(2000))
        body, found = Body(Framing("length", length)), b""
        at = 0
        while at < len(data):
            step = random.randrange(1, 400)
            found += b"".join(body.content(memoryview(data)[at : at + step]))
            at += step
        assert found == data[:length]
        assert (body.complete, body.surplus) == (len(data) >= length, len(data) > length)
