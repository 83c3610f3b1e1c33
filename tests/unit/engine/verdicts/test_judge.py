"""judge(): one case or more for every row of the catalogue that a head decides, by its number."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from modelferry.engine.verdicts import Action, Expectation, Verdict, ended, judge
from modelferry.errors import (
    Denied,
    NotFound,
    PlainHTTPRefused,
    ServerMisbehaves,
    SizeMismatch,
    SourceChanged,
    Stalled,
)
from modelferry.http.wire import Framing, Head, Request
from modelferry.http.wire.redirects import MAX_REDIRECTS

URL = "https://example.com/model.bin?token=secret"
ASK = Request(URL, 100, 200)
WHOLE = Request(URL)
PINNED = Expectation(size=1000)
UNPINNED = Expectation(size=1000, pinned=False)
DATE = ("date", "Sun, 22 Nov 2026 10:00:10 GMT")

RANGE = (("content-range", "bytes 100-199/1000"), ("content-length", "100"), ("etag", '"v1"'))
FULL = (("content-length", "1000"), ("etag", '"v1"'))
HUNDRED, FIFTY, NONE = ("content-length", "100"), ("content-length", "50"), ("content-length", "-")
CHUNKED = ("transfer-encoding", "chunked")


def partial(*fields: tuple[str, str]) -> Head:
    """A good 206 with some fields replaced; one of value "-" is left out."""
    return Head(206, (1, 1), _replaced(RANGE, fields))


def full(*fields: tuple[str, str], status: int = 200) -> Head:
    """A good 200 with some fields replaced."""
    return Head(status, (1, 1), _replaced(FULL, fields))


def _replaced(good: tuple[tuple[str, str], ...], fields: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    names = {name for name, _ in fields}
    return tuple(field for field in (*(f for f in good if f[0] not in names), *fields) if field[1] != "-")


def said(status: int, *fields: tuple[str, str]) -> Head:
    return Head(status, (1, 1), (("content-length", "0"), *fields))


def test_a_good_range_is_taken() -> None:
    verdict = judge(ASK, partial(), PINNED)
    assert verdict == Verdict(Action.TAKE, start=100, length=100, validator='"v1"', framing=Framing("length", 100))


def test_a_good_file_is_taken_whole() -> None:
    verdict = judge(WHOLE, full(), PINNED)
    assert (verdict.action, verdict.behavior, verdict.start, verdict.length) == (Action.TAKE, 0, 0, 1000)


TAKEN = [
    (2, ASK, full(("content-range", "bytes 100-199/1000"), HUNDRED), PINNED, 100),
    (2, WHOLE, full(("content-range", "bytes 0-999/1000")), PINNED, 1000),
    (4, ASK, partial(("content-range", "bytes 100-149/1000"), ("content-length", "50")), PINNED, 50),
    (7, ASK, partial(("content-range", "bytes 100-199/*")), PINNED, 100),
    (9, ASK, partial(("content-length", "60")), PINNED, 60),
    (12, ASK, partial(("etag", '"v2"')), replace(PINNED, validator='"v1"'), 100),
    (14, ASK, partial(("etag", 'W/"v1"')), PINNED, 100),
    (15, ASK, partial(("etag", "-")), PINNED, 100),
    (16, ASK, partial(("etag", "-"), ("last-modified", "Sun, 22 Nov 2026 10:00:10 GMT"), DATE), PINNED, 100),
    (19, ASK, partial(("content-encoding", "gzip")), PINNED, 100),
    (19, WHOLE, full(("content-encoding", "aws-chunked,x-gzip")), PINNED, 1000),
    (23, ASK, partial(("content-length", "-"), ("transfer-encoding", "chunked")), PINNED, 100),
    (15, WHOLE, full(("etag", "-")), UNPINNED, 1000),
]


@pytest.mark.parametrize(("row", "request_", "head", "expectation", "length"), TAKEN)
def test_rows_that_are_taken(row: int, request_: Request, head: Head, expectation: Expectation, length: int) -> None:
    verdict = judge(request_, head, expectation)
    assert (verdict.action, verdict.behavior, verdict.length) == (Action.TAKE, row, length)


@pytest.mark.parametrize("coding", ["aws-chunked", "identity", "", "none", "binary", "UTF-8", "aws-chunked, identity"])
@pytest.mark.parametrize("expectation", [PINNED, UNPINNED])
def test_a_coding_that_leaves_the_bytes_as_they_are_is_passed(coding: str, expectation: Expectation) -> None:
    """versity/versitygw#2398 and noobaa/noobaa-core#9138: stores keep the aws-chunked of an upload."""
    verdict = judge(ASK, partial(("content-encoding", coding)), expectation)
    assert (verdict.action, verdict.behavior) == (Action.TAKE, 0)


def test_a_stored_coding_without_a_digest_is_refused_with_the_remedy_and_no_value_of_the_field() -> None:
    """bazelbuild/bazel#11686: an object that is stored compressed, and no digest says of what."""
    verdict = judge(ASK, partial(("content-encoding", "gzip")), UNPINNED)
    assert "sent content in gzip" in verdict.message
    assert "declare the digest of the stored bytes" in verdict.message
    assert "secret" not in judge(ASK, partial(("content-encoding", "secret")), UNPINNED).message


REFUSED: list[tuple[int, Request, Head, Expectation, Action, type[Stalled]]] = [
    (1, ASK, full(), PINNED, Action.STREAM, ServerMisbehaves),
    (2, ASK, full(("content-range", "bytes 100-199/1000")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (2, ASK, full(("content-range", "bytes 0-99/1000"), HUNDRED), PINNED, Action.SUSPECT, ServerMisbehaves),
    (2, ASK, full(("content-range", "bytes 100-149/1000"), FIFTY), PINNED, Action.SUSPECT, ServerMisbehaves),
    (2, ASK, full(("content-range", "bytes */1000"), HUNDRED), PINNED, Action.SUSPECT, ServerMisbehaves),
    (2, ASK, full(("content-range", "bytes 100-199/1000"), CHUNKED, NONE), PINNED, Action.SUSPECT, ServerMisbehaves),
    (2, WHOLE, full(("content-range", "bytes 0-99/1000"), HUNDRED), PINNED, Action.SUSPECT, ServerMisbehaves),
    (6, ASK, full(("content-range", "bytes 100-199/900"), HUNDRED), PINNED, Action.REFUSE, SizeMismatch),
    (3, ASK, partial(("content-range", "bytes 0-99/1000")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (3, ASK, partial(("content-range", "bytes 100-299/1000")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (3, WHOLE, partial(), PINNED, Action.SUSPECT, ServerMisbehaves),
    (5, ASK, partial(("content-range", "-")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (5, ASK, partial(("content-range", "bytes 199-100/1000")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (5, ASK, partial(("content-range", "items 100-199/1000")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (6, ASK, partial(("content-range", "bytes 100-199/900")), PINNED, Action.REFUSE, SizeMismatch),
    (6, WHOLE, full(("content-length", "999")), PINNED, Action.REFUSE, SizeMismatch),
    (8, ASK, partial(("content-type", "multipart/byteranges; boundary=x")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (10, ASK, partial(("content-length", "101")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (12, ASK, partial(("etag", '"v2"')), replace(UNPINNED, validator='"v1"'), Action.RESTART, SourceChanged),
    (
        12,
        ASK,
        partial(("etag", '"v2"')),
        replace(PINNED, validator='"v1"', alternatives=True),
        Action.SUSPECT,
        SourceChanged,
    ),
    (
        12,
        ASK,
        partial(("etag", '"v2"')),
        replace(UNPINNED, validator='"v1"', mark='"v1"'),
        Action.REFUSE,
        SourceChanged,
    ),
    (
        12,
        WHOLE,
        full(("etag", 'W/"v2"')),
        replace(UNPINNED, mark='W/"v1"'),
        Action.REFUSE,
        SourceChanged,
    ),
    (12, WHOLE, full(("etag", "-")), replace(UNPINNED, mark="ETag without quotes: a"), Action.REFUSE, SourceChanged),
    (13, ASK, said(412), UNPINNED, Action.RESTART, SourceChanged),
    (13, ASK, said(412), PINNED, Action.SUSPECT, SourceChanged),
    (14, ASK, partial(("etag", 'W/"v1"')), UNPINNED, Action.STREAM, ServerMisbehaves),
    (15, ASK, partial(("etag", "-")), UNPINNED, Action.STREAM, ServerMisbehaves),
    (
        16,
        ASK,
        partial(("etag", "-"), ("last-modified", "Sun, 22 Nov 2026 10:00:10 GMT"), DATE),
        UNPINNED,
        Action.STREAM,
        ServerMisbehaves,
    ),
    (19, ASK, partial(("content-encoding", "gzip")), UNPINNED, Action.SUSPECT, ServerMisbehaves),
    (19, WHOLE, full(("content-encoding", "br")), UNPINNED, Action.SUSPECT, ServerMisbehaves),
    (
        19,
        ASK,
        partial(("content-encoding", "gzip"), ("content-length", "60")),
        PINNED,
        Action.SUSPECT,
        ServerMisbehaves,
    ),
    (19, ASK, partial(("content-encoding", "gzip"), CHUNKED, NONE), PINNED, Action.SUSPECT, ServerMisbehaves),
    (19, ASK, full(("content-encoding", "gzip"), FIFTY), PINNED, Action.SUSPECT, ServerMisbehaves),
    (
        20,
        WHOLE,
        full(("content-type", "text/html"), ("content-length", "7")),
        PINNED,
        Action.SUSPECT,
        ServerMisbehaves,
    ),
    (20, ASK, partial(("warning", '214 proxy "Transformation applied"')), PINNED, Action.SUSPECT, ServerMisbehaves),
    (20, ASK, said(511), PINNED, Action.SUSPECT, ServerMisbehaves),
    (20, ASK, said(203), PINNED, Action.SUSPECT, ServerMisbehaves),
    (21, ASK, partial(("transfer-encoding", "chunked")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (22, ASK, partial(("content-length", "100, 99")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (29, ASK, full(("accept-ranges", "none")), PINNED, Action.STREAM, ServerMisbehaves),
    (30, ASK, said(416, ("content-range", "bytes */1000")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (30, ASK, said(416), PINNED, Action.SUSPECT, ServerMisbehaves),
    (6, ASK, said(416, ("content-range", "bytes */50")), PINNED, Action.REFUSE, SizeMismatch),
    (37, ASK, said(401), PINNED, Action.REFUSE, Denied),
    (39, ASK, said(403), PINNED, Action.REFUSE, Denied),
    (39, ASK, said(404), PINNED, Action.REFUSE, NotFound),
    (39, ASK, said(410), PINNED, Action.REFUSE, NotFound),
    (39, ASK, said(418), PINNED, Action.REFUSE, ServerMisbehaves),
    (41, ASK, said(302, ("location", "http://example.com/x")), PINNED, Action.REFUSE, PlainHTTPRefused),
    (43, ASK, said(302, ("location", URL)), PINNED, Action.SUSPECT, ServerMisbehaves),
    (43, ASK, said(302), PINNED, Action.SUSPECT, ServerMisbehaves),
    (43, ASK, said(302, ("location", "ftp://example.com/x")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (
        43,
        ASK,
        said(302, ("location", "https://example.com/next")),
        replace(PINNED, hops=tuple(f"https://example.com/{n}" for n in range(MAX_REDIRECTS))),
        Action.SUSPECT,
        ServerMisbehaves,
    ),
    (51, ASK, said(407), PINNED, Action.REFUSE, Denied),
    (54, ASK, partial(("content-range", "bytes 100-199/1001")), PINNED, Action.REFUSE, SizeMismatch),
    (54, WHOLE, full(("content-length", "1001")), PINNED, Action.REFUSE, SizeMismatch),
    (56, ASK, said(204), PINNED, Action.SUSPECT, ServerMisbehaves),
    (56, ASK, said(304), PINNED, Action.SUSPECT, ServerMisbehaves),
    (56, ASK, partial(("content-length", "0")), PINNED, Action.SUSPECT, ServerMisbehaves),
    (56, ASK, said(300), PINNED, Action.SUSPECT, ServerMisbehaves),
]


@pytest.mark.parametrize(("row", "request_", "head", "expectation", "action", "fault"), REFUSED)
def test_rows_that_are_not(
    row: int, request_: Request, head: Head, expectation: Expectation, action: Action, fault: type[Stalled]
) -> None:
    verdict = judge(request_, head, expectation)
    assert (verdict.action, verdict.behavior, verdict.error) == (action, row, fault)
    assert verdict.message
    assert "secret" not in verdict.message


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_row_34_the_server_may_recover(status: int) -> None:
    verdict = judge(ASK, said(status), PINNED)
    assert (verdict.action, verdict.behavior, verdict.delay) == (Action.WAIT, 34, None)


@pytest.mark.parametrize(
    ("row", "value", "delay"),
    [
        (35, "7", 7.0),
        (35, "Sun, 22 Nov 2026 10:00:40 GMT", 30.0),
        (35, "-", None),
        (35, "soon", None),
        (35, "-5", None),
        (35, "0", 1.0),
        (35, "Sun, 22 Nov 2020 10:00:40 GMT", 1.0),
        (36, "86400", 300.0),
        (36, "9" * 30, None),
        (36, "Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_rows_35_and_36_retry_after_is_obeyed_and_clamped(
    status: int, row: int, value: str, delay: float | None
) -> None:
    verdict = judge(ASK, said(status, ("retry-after", value), DATE), PINNED)
    assert (verdict.action, verdict.delay) == (Action.WAIT, delay)
    assert verdict.behavior in (35, 36)


def test_row_17_validators_of_another_mirror_are_not_known_here() -> None:
    assert judge(ASK, partial(("etag", '"other"')), replace(PINNED, validator=None)).action is Action.TAKE


def test_row_40_is_asked_again_on_a_new_connection() -> None:
    assert judge(ASK, said(421), PINNED).action is Action.RECONNECT


def test_row_42_a_redirected_request_carries_nothing_over() -> None:
    verdict = judge(ASK, said(307, ("location", "/elsewhere?sig=1#part")), PINNED)
    assert (verdict.action, verdict.location) == (Action.FOLLOW, "https://example.com/elsewhere?sig=1")
    assert b"Authorization" not in replace(ASK, url=verdict.location).encode()


def test_plain_http_is_followed_where_it_is_allowed() -> None:
    head = said(301, ("location", "http://example.com/x"))
    assert judge(ASK, head, replace(PINNED, plain_http=True)).action is Action.FOLLOW


def test_last_modified_a_second_before_date_is_a_strong_validator() -> None:
    modified = "Sun, 22 Nov 2026 10:00:09 GMT"
    verdict = judge(ASK, partial(("etag", "-"), ("last-modified", modified), DATE), UNPINNED)
    assert (verdict.action, verdict.validator) == (Action.TAKE, f"Last-Modified: {modified}")


@pytest.mark.parametrize("etag", ["abc", "0x8D4BCC2E4835CD0", '"a"b"', "", '"open'])
def test_an_etag_that_is_none_does_not_hide_a_last_modified(etag: str) -> None:
    """NuGet/NuGetGallery#8071: an ETag without quotes beside a good Last-Modified."""
    modified = "Sun, 22 Nov 2026 10:00:09 GMT"
    head = partial(("etag", etag), ("last-modified", modified), DATE)
    verdict = judge(ASK, head, UNPINNED)
    assert (verdict.action, verdict.validator) == (Action.TAKE, f"Last-Modified: {modified}")
    verdict = judge(ASK, partial(("etag", etag)), UNPINNED)
    assert (verdict.action, verdict.behavior) == (Action.STREAM, 15)


def test_content_digest_is_read_for_the_content_that_it_covers() -> None:
    digest = hashlib.sha256(b"x").digest()
    field = ("content-digest", f"md5=:xxx:, sha-256=:{base64.b64encode(digest).decode()}:")
    assert judge(ASK, partial(field), PINNED).digest == digest
    # A body that is announced shorter than its range does not have it.
    assert judge(ASK, partial(field, ("content-length", "60")), PINNED).digest is None
    assert judge(ASK, partial(("content-digest", "sha-256=:short:")), PINNED).digest is None


TAKE = judge(ASK, partial(), PINNED)


ENDED: list[tuple[int, int, Framing, bool, Action]] = [
    (9, 60, Framing("length", 100), False, Action.WAIT),
    (10, 101, Framing("chunked"), False, Action.SUSPECT),
    (24, 60, Framing("close"), False, Action.WAIT),
    (25, 60, Framing("chunked"), False, Action.WAIT),
    (27, 101, Framing("close"), False, Action.SUSPECT),
    (55, 100, Framing("length", 100), True, Action.SUSPECT),
]


@pytest.mark.parametrize(("row", "taken", "framing", "surplus", "action"), ENDED)
def test_rows_that_the_end_of_the_body_decides(
    row: int, taken: int, framing: Framing, surplus: bool, action: Action
) -> None:
    verdict = ended(taken, replace(TAKE, framing=framing), surplus)
    assert verdict is not None
    assert (verdict.behavior, verdict.action) == (row, action)


@pytest.mark.parametrize("framing", [Framing("length", 100), Framing("chunked"), Framing("close")])
def test_a_body_of_the_announced_length_is_whole(framing: Framing) -> None:
    assert ended(100, replace(TAKE, framing=framing), False) is None


def test_a_request_asks_for_identity_and_a_digest_of_its_range() -> None:
    text = Request("https://exa\u0308mple.com:8443/a b%20c/\u00e9?q=1#frag", 16, 32, fresh=True).encode().decode()
    assert text.startswith("GET /a%20b%20c/%C3%A9?q=1 HTTP/1.1\r\nHost: xn--exmple-cua.com:8443\r\n")
    assert "\r\nRange: bytes=16-31\r\n" in text
    assert "\r\nAccept-Encoding: identity\r\n" in text
    assert "\r\nWant-Content-Digest: sha-256=10\r\n" in text
    assert "\r\nCache-Control: no-cache\r\n" in text
    assert text.endswith("\r\n\r\n")
    assert "Range" not in WHOLE.encode().decode()
