"""A response head is read alike when a file is resolved and when it is downloaded."""

from __future__ import annotations

from contextlib import suppress

import pytest

from modelferry.engine.verdicts.judge import judge
from modelferry.engine.verdicts.verdict import Action, Expectation
from modelferry.errors import ServerMisbehaves
from modelferry.http.wire import HeadParser, ProtocolError, Request
from modelferry.http.wire.framing import framing_of
from modelferry.sources.http_files import facts_of
from modelferry.sources.source_client import Head

URL = "https://h.example/a"
RANGE, LENGTH = "Content-Range: bytes 0-0/1\r\n", "Content-Length: 1\r\n"
GOOD = f"HTTP/1.1 206 X\r\n{RANGE}{LENGTH}"


def fields(count: int) -> str:
    return "X: y\r\n" * count


def resolved(raw: bytes) -> int | None:
    """The size that the resolver reads; None where it refuses the response."""
    with suppress(ProtocolError, ServerMisbehaves):
        head, _ = HeadParser().feed(raw)
        if head is not None:
            framing_of(head)
            return facts_of(Head.of(head, URL), "a").size
    return None


def downloaded(raw: bytes) -> bool:
    """Whether the engine takes the response to a request for the file's only byte."""
    with suppress(ProtocolError):
        head, _ = HeadParser().feed(raw)
        return head is not None and judge(Request(URL, 0, 1), head, Expectation(1)).action is Action.TAKE
    return False


@pytest.mark.parametrize(
    ("raw", "accepted"),
    [
        (GOOD, True),
        (f"{GOOD}{LENGTH}", True),
        (f"HTTP/1.1 206 X\r\n{RANGE}Content-Length: 1, 1\r\n", True),
        (f"HTTP/1.1 206 X\r\nContent-Range: Bytes 0-0/1\r\n{LENGTH}", True),
        (f"{GOOD}X: {'x' * 60_000}\r\n", True),
        (f"{GOOD}{fields(254)}", True),
        (f"{GOOD}X: {'x' * 70_000}\r\n", False),
        (f"{GOOD}{fields(255)}", False),
        (f"{GOOD}Content-Length: 2\r\n", False),
        (f"{GOOD}{RANGE}", False),
        (f"HTTP/1.1 206 X\r\nContent-Range: bytes 0-1/1\r\n{LENGTH}", False),
        (f"{GOOD}X: a\r\n b\r\n", True),
        (GOOD.replace("\r\n", "\n"), True),
    ],
    ids=["plain", "length twice", "length as a list", "Bytes", "60 kB", "256 fields", "70 kB", "257 fields",
         "other length", "range twice", "range beyond the end", "folded", "LF"],
)  # fmt: skip
def test_resolver_and_engine_accept_and_refuse_the_same_heads(raw: str, accepted: bool) -> None:
    """aiohttp#2304 (long and many fields), nodejs#6517 (a Content-Length twice, and other old forms)."""
    data = raw.encode() + (b"\n" if "\r" not in raw else b"\r\n")
    assert (resolved(data), downloaded(data)) == (1 if accepted else None, accepted)


@pytest.mark.parametrize("lengths", ["Content-Length: 7\r\n" * 2, "Content-Length: 7, 7\r\n"])
def test_a_length_that_is_repeated_is_read_from_a_200_too(lengths: str) -> None:
    """nodejs#6517."""
    assert resolved(f"HTTP/1.1 200 X\r\n{lengths}\r\n".encode()) == 7
