"""The head parser: what it takes, what it refuses, and that it does not matter where the bytes are cut."""

from __future__ import annotations

from random import Random

import pytest

from modelferry.http.wire import Head, HeadParser, ProtocolError
from modelferry.http.wire.head_parser import MAX_FIELDS, MAX_HEAD, MAX_INTERIM

GOOD = b'HTTP/1.1 206 Partial Content\r\nETag: "a"\r\nX-Empty:\r\ncontent-length:  5 \r\n\r\n'


def parse(data: bytes, step: int = 1 << 20) -> tuple[Head | None, int]:
    """Feed `data` in pieces of `step` bytes: the head, and how many bytes it took."""
    parser, used = HeadParser(), 0
    for start in range(0, len(data), step):
        head, count = parser.feed(data[start : start + step])
        used += count
        if head is not None:
            return head, used
    return None, used


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_a_head_is_the_same_however_it_is_cut(step: int) -> None:
    head, used = parse(GOOD + b"hello", step)
    assert head == Head(206, (1, 1), (("etag", '"a"'), ("x-empty", ""), ("content-length", "5")))
    assert used == len(GOOD)


def test_values_of_one_field_are_one_list() -> None:
    head, _ = parse(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: x\r\na: 2\r\n\r\n")
    assert head is not None
    assert (head.get("a"), head.all("a"), head.get("c")) == ("1, 2", ["1", "2"], None)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n", b"HTTP/1.0 200 Fine\xe9\r\n"])
def test_a_reason_is_optional(line: bytes) -> None:
    head, _ = parse(line + b"\r\n")
    assert head is not None
    assert head.status == 200


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_lines_that_all_end_in_a_lone_newline_are_read(step: int) -> None:
    """RFC 9112 section 2.2 permits it, and a simple server sends nothing else (nodejs/node#6517 and its siblings)."""
    text = b"HTTP/1.1 103 Early Hints\n\n" + GOOD.replace(b"\r\n", b"\n")
    head, used = parse(text + b"\r\n\r\nhello", step)
    assert head == Head(206, (1, 1), (("etag", '"a"'), ("x-empty", ""), ("content-length", "5")))
    assert used == len(text)


@pytest.mark.parametrize("step", [1, 2, 1000])
def test_a_folded_line_belongs_to_the_field_before_it(step: int) -> None:
    """RFC 9112 section 5.2: a client replaces the fold by a space."""
    text = b"HTTP/1.1 200 OK\r\nX-Policy: a;\r\n\t  b;\r\n c\r\nContent-Length: 5\r\n\r\n"
    head, used = parse(text, step)
    assert head == Head(200, (1, 1), (("x-policy", "a; b; c"), ("content-length", "5")))
    assert used == len(text)


@pytest.mark.parametrize("step", [1, 1000])
def test_interim_responses_are_passed_over(step: int) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    head, used = parse(early * MAX_INTERIM + GOOD, step)
    assert head is not None
    assert head.status == 206
    assert used == len(early) * MAX_INTERIM + len(GOOD)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "HTTP/2.0"),
        (b"HTTP/1.1 99 Odd\r\n\r\n", "malformed status line"),
        (b"HTTP/1.1 200 OK\r\nName : x\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\nA: x\r\n f\0lded\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 0\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 206 OK\r\nContent-Range:\r\n bytes 0-0/5\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\nA: x\nB: y\r\n\r\n", "two kinds of line ends"),
        (b"HTTP/1.1 200 OK\nA: x\r\nB: y\n\n", "two kinds of line ends"),
        (b"HTTP/1.1 200 OK\nA: x\r\n\r\n", "two kinds of line ends"),
        (b"HTTP/1.1 200 OK\r\nA: x\n\n", "two kinds of line ends"),
        (b"HTTP/1.1 200 OK\r\nA: x\0y\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\nA: x\ry\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\n: x\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switched"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1), "interim"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: x\r\n" * (MAX_FIELDS + 1) + b"\r\n", "header fields"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD, "head of more than"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD + b"\r\n\r\n", "head of more than"),
    ],
)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_row_26_what_is_malformed_or_endless_is_refused(data: bytes, message: str, step: int) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        parse(data, step)
    assert caught.value.behavior == 26


def test_any_bytes_are_a_head_or_refused_the_same_however_they_are_cut() -> None:
    random = Random(26)
    alphabet = [
        b"\r\n",
        b"\r",
        b"\n",
        b": ",
        b" ",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"A",
        b"\0",
        b"\xff",
        b"7",
    ]
    for _ in range(2000):
        data = b"HTTP/1.1 " * random.randrange(2) + b"".join(random.choices(alphabet, k=random.randrange(12)))
        assert outcome(data, 1 << 20) == outcome(data, random.randrange(1, 5)), data


def outcome(data: bytes, step: int) -> object:
    try:
        return parse(data, step)[0]
    except ProtocolError as error:
        return error.behavior
