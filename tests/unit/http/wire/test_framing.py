"""Where a body ends."""

from __future__ import annotations

import pytest

from modelferry.http.wire import Body, Framing, Head, ProtocolError, keeps_alive
from modelferry.http.wire.framing import MAX_SIZE_LINE, MAX_TRAILERS, framing_of


def head(*fields: tuple[str, str], status: int = 200, version: tuple[int, int] = (1, 1)) -> Head:
    return Head(status, version, fields)


def content(framing: Framing, data: bytes, step: int) -> tuple[bytes, Body]:
    """The content within `data`, fed in pieces of `step` bytes."""
    body, found = Body(framing), b""
    for start in range(0, len(data), step):
        for piece in body.content(memoryview(data[start : start + step])):
            found += piece
    return found, body


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([("content-length", "5")], Framing("length", 5)),
        ([("content-length", "5"), ("content-length", "5")], Framing("length", 5)),
        ([("content-length", "5, 5")], Framing("length", 5)),
        ([("transfer-encoding", "Chunked")], Framing("chunked")),
        ([], Framing("close")),
    ],
)
def test_framing(fields: list[tuple[str, str]], framing: Framing) -> None:
    assert framing_of(head(*fields)) == framing


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        (21, [("content-length", "5"), ("transfer-encoding", "chunked")]),
        (21, [("transfer-encoding", "gzip, chunked")]),
        (21, [("transfer-encoding", "identity")]),
        (22, [("content-length", "5"), ("content-length", "6")]),
        (22, [("content-length", "5, 6")]),
        (22, [("content-length", "-5")]),
        (22, [("content-length", "+5")]),
        (22, [("content-length", "")]),
        (22, [("content-length", "9" * 19)]),
        (22, [("content-length", "5\xa0")]),
        (21, [("transfer-encoding", "\x85chunked")]),
    ],
)
def test_rows_21_and_22_what_two_readers_could_read_differently_is_refused(
    row: int, fields: list[tuple[str, str]]
) -> None:
    with pytest.raises(ProtocolError) as caught:
        framing_of(head(*fields))
    assert caught.value.behavior == row


def test_a_transfer_coding_in_http_1_0_is_refused() -> None:
    with pytest.raises(ProtocolError):
        framing_of(head(("transfer-encoding", "chunked"), version=(1, 0)))


def test_a_204_has_no_body_whatever_it_says() -> None:
    assert framing_of(head(("content-length", "5"), status=204)) == Framing("length", 0)


@pytest.mark.parametrize("step", [1, 2, 5, 100])
@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"00005;name=value\r\nhello\r\n6 \r\n world\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n",
        b"1\r\nh\r\nA\r\nello world\r\n000\r\n\r\n",
    ],
)
def test_chunked_content_is_the_same_however_it_is_cut(data: bytes, step: int) -> None:
    found, body = content(Framing("chunked"), data, step)
    assert found == b"hello world"
    assert (body.complete, body.surplus) == (True, False)


@pytest.mark.parametrize("step", [1, 100])
@pytest.mark.parametrize(
    ("row", "data"),
    [
        (25, b"x\r\n"),
        (25, b"-5\r\nhello\r\n"),
        (25, b"0x5\r\nhello\r\n"),
        (25, b"5\nhello\r\n"),
        (25, b"5\r\nhelloo\r\n"),
        (25, b"1" * 16 + b"\r\n"),
        (26, b"5;" + b"x" * MAX_SIZE_LINE),
        (26, b"0\r\n" + b"A: x\r\n" * MAX_TRAILERS),
        (26, b"0\r\n" + b"x" * (MAX_TRAILERS + 1)),
    ],
)
def test_a_broken_or_endless_chunk_is_refused(row: int, data: bytes, step: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        content(Framing("chunked"), data, step)
    assert caught.value.behavior == row


@pytest.mark.parametrize("data", [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n"])
def test_row_25_a_chunked_body_that_is_cut_is_not_whole(data: bytes) -> None:
    _, body = content(Framing("chunked"), data, 3)
    assert not body.complete
    assert not body.close()


def test_a_length_is_counted_and_what_follows_is_surplus() -> None:
    found, body = content(Framing("length", 5), b"hello", 2)
    assert (found, body.complete, body.surplus, body.left) == (b"hello", True, False, 0)
    found, body = content(Framing("length", 5), b"hello!", 10)
    assert (found, body.surplus) == (b"hello", True)
    found, body = content(Framing("length", 5), b"hel", 10)
    assert (body.complete, body.close(), body.left) == (False, False, 2)


def test_a_body_that_ends_with_its_connection_is_whole_as_far_as_the_framing_says() -> None:
    found, body = content(Framing("close"), b"hello", 2)
    assert (found, body.complete, body.close()) == (b"hello", False, True)


@pytest.mark.parametrize(
    ("fields", "version", "framing", "kept"),
    [
        ([], (1, 1), Framing("length", 1), True),
        ([("connection", "Keep-Alive, Close")], (1, 1), Framing("length", 1), False),
        ([], (1, 0), Framing("length", 1), False),
        ([("connection", "keep-alive")], (1, 0), Framing("length", 1), True),
        ([], (1, 1), Framing("close"), False),
        ([], (1, 1), Framing("chunked"), True),
    ],
)
def test_when_a_connection_may_be_kept(
    fields: list[tuple[str, str]], version: tuple[int, int], framing: Framing, kept: bool
) -> None:
    assert keeps_alive(head(*fields, version=version), framing) is kept
