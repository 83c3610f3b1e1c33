"""The catalogue of docs/hostile-servers.md as a table: what the origin does, and what follows from it.

One file of six chunks, ``a``, is fetched over one connection, so that each request can be told beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from modelferry.errors import (
    Denied,
    DigestMismatch,
    ModelferryError,
    NotFound,
    PlainHTTPRefused,
    ServerMisbehaves,
    SizeMismatch,
    SourceChanged,
    SourceUnavailable,
)
from network.world import CHUNK
from origin.rules import Rule

DATA = Random(7).randbytes(5 * CHUNK + 1234)
#: A byte of the third chunk.
BAD = 2 * CHUNK + 77

#: A request: the number of a whole chunk, (start, end) in bytes, or None for the file without a range.
Ask = int | tuple[int, int] | None
ALL: tuple[Ask, ...] = (0, 1, 2, 3, 4, 5)
NOTHING: tuple[Ask, ...] = ()


@dataclass(frozen=True)
class Case:
    """One way in which a row is met.

    ``rules`` make the origin hostile. ``asked``: the requests for ``a`` at the origin, in any order; ``other``: those
    at an honest second one. ``met``: the rows of the verdicts that no content followed from, in order. ``error`` and
    ``says``: how it ends, where it does not end well.

    ``many``: in the stead of ``asked``, how many requests at least and at most, where which chunk is hit, or how far
    ahead the origin is, depends on the time. ``met`` then says which rows may be met.

    ``locations``: where ``a`` may be had: ``origin`` and ``other``, with paths. ``served``: the bytes at the origin,
    where they are not the declared ones. ``drips``: deadlines are short, and the test therefore lasts a second.
    """

    row: int
    what: str
    rules: tuple[Rule, ...]
    asked: tuple[Ask, ...] = ALL
    met: tuple[int, ...] = ()
    error: type[ModelferryError] | None = None
    says: str = ""
    many: tuple[int, int] | None = None
    other: tuple[Ask, ...] = NOTHING
    algorithm: str | None = "sha256"
    digest: bool = False
    validator: str = ""
    locations: tuple[str, ...] = ("origin:a",)
    served: bytes = DATA
    drips: bool = False
    progress_deadline: float = 5.0


def once(**what: object) -> tuple[Rule, ...]:
    """That, once, to the request for the second chunk."""
    return (Rule(covers=CHUNK, times=1, **what),)  # type: ignore[arg-type]


def answered(head: str, body: bytes = DATA[CHUNK : 2 * CHUNK]) -> tuple[Rule, ...]:
    """A whole answer, byte by byte, once, to the request for the second chunk."""
    return once(raw=head.replace("\n", "\r\n") + "\r\n\r\n" + body.decode("latin-1"))


def chunked(body: bytes, trailers: str = "") -> bytes:
    """`body` as one chunk of chunked coding."""
    return b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers.encode())


AGAIN: tuple[Ask, ...] = (*ALL, 1)
RANGE = f"Content-Range: bytes {CHUNK}-{2 * CHUNK - 1}/{len(DATA)}"
PARTIAL = f"HTTP/1.1 206 Said\n{RANGE}"
SECOND = DATA[CHUNK : 2 * CHUNK]
BOTH = ("origin:a", "other:a")
FROM = ("origin:from",)

CASES = [
    Case(1, "the whole file to a range, twice", (Rule(ignore_range=True, covers=CHUNK, times=2),), (*AGAIN, 1), (1, 1)),
    Case(1, "the whole file to every range", (Rule(ignore_range=True),), met=(1,), many=(4, 4)),
    Case(2, "the right slice in a 200", (Rule(says_200=True),)),
    Case(2, "a slice of it in a 200", once(ignore_range=True, content_range="bytes 0-9/{size}"), AGAIN, (2,)),
    Case(3, "another offset", once(content_range="bytes 5-{last}/{size}"), AGAIN, (3,)),
    Case(3, "more than was asked for", once(content_range=f"bytes {CHUNK}-{2 * CHUNK}/{{size}}"), AGAIN, (3,)),
    Case(4, "a shorter range", once(shorten=1000), (*ALL, (2 * CHUNK - 1000, 2 * CHUNK)), (4,)),
    Case(5, "206 without Content-Range", once(content_range=""), AGAIN, (5,)),
    Case(
        5,
        "the same always",
        (Rule(content_range=""),),
        NOTHING,
        (5,),
        ServerMisbehaves,
        "206 without Content-Range",
        many=(5, 5),
    ),
    Case(6, "a shorter file", (), (0,), (6,), SizeMismatch, "where 328914 are declared", served=DATA[:-9]),
    Case(7, "a total of *", (Rule(content_range="bytes {first}-{last}/*"),)),
    Case(8, "multipart/byteranges", once(fields=(("Content-Type", "multipart/byteranges; boundary=x"),)), AGAIN, (8,)),
    Case(9, "a short body", once(cut=40_000), (*ALL, (CHUNK + 40_000, 2 * CHUNK)), (9,)),
    Case(
        9,
        "a body that is announced to be short",
        once(cut=5000, fields=(("Content-Length", "5000"),)),
        (*ALL, (CHUNK + 5000, 2 * CHUNK)),
        (4,),
    ),
    Case(10, "bytes after the content", once(surplus=100), met=(55,), many=(6, 7)),
    Case(10, "a length beyond the range", once(extra=100), AGAIN, (10,)),
    Case(10, "a chunked body beyond the range", once(surplus=100, chunked=True), AGAIN, (10,)),
    Case(11, "wrong bytes once, with Content-Digest", once(corrupt=CHUNK + 9), AGAIN, (11,), digest=True),
    Case(
        11,
        "wrong bytes always, with Content-Digest",
        (Rule(corrupt=BAD),),
        NOTHING,
        (11,),
        DigestMismatch,
        "other bytes than its Content-Digest declares",
        many=(4, 9),
        digest=True,
    ),
    Case(
        11,
        "wrong bytes always, without",
        (Rule(corrupt=BAD),),
        (*ALL, *ALL),
        error=DigestMismatch,
        says="every chunk was fetched again",
    ),
    Case(
        11,
        "wrong bytes always, with Content-Digest, and another place",
        (Rule(corrupt=BAD),),
        met=(11,),
        other=(2,),
        digest=True,
        locations=BOTH,
    ),
    Case(11, "wrong bytes always, and another place", (Rule(corrupt=BAD),), other=ALL, locations=BOTH),
    Case(12, "another ETag, with a digest", (Rule(etag='"v2"', first=3),)),
    Case(12, "another ETag, without", (Rule(etag='"v2"', first=3),), (0, 1, 2, *ALL), (12,), algorithm=None),
    Case(
        12,
        "another ETag each time",
        tuple(Rule(etag=f'"v{number}"', first=number, times=1) for number in range(1, 60)),
        (0, 1, 0, 1, 0, 1, 0, 1),
        (12,) * 4,
        SourceChanged,
        "changed while it was fetched",
        algorithm=None,
    ),
    Case(
        12,
        "not the ETag that was resolved",
        (),
        (0,),
        (12,),
        SourceChanged,
        "another version than the one that was resolved",
        algorithm=None,
        validator='"resolved"',
    ),
    Case(13, "412, with a digest", once(status=412), AGAIN, (13,)),
    Case(13, "412, without", (Rule(status=412, first=3, times=1),), (0, 1, 2, *ALL), (13,), algorithm=None),
    Case(14, "a weak ETag, with a digest", (Rule(etag='W/"v"'),)),
    Case(14, "a weak ETag, without", (Rule(etag='W/"v"'),), (0, None), (14,), algorithm=None),
    Case(15, "no validator, with a digest", (Rule(etag=""),)),
    Case(15, "no validator, without", (Rule(etag=""),), (0, None), (15,), algorithm=None),
    Case(
        15,
        "no validator, and a stream that breaks",
        (Rule(etag=""), Rule(ranged=False, cut=3 * CHUNK + 10, times=1)),
        (0, None, None),
        (15, 9),
        algorithm=None,
    ),
    Case(16, "a Last-Modified of this second, with a digest", (Rule(etag="", last_modified="{date}"),)),
    Case(
        16,
        "a Last-Modified of this second, without",
        (Rule(etag="", last_modified="{date}"),),
        (0, None),
        (16,),
        algorithm=None,
    ),
    Case(
        17,
        "another mirror's ETag",
        (Rule(covers=CHUNK, status=500, times=1), Rule(etag='"here"')),
        met=(34,),
        other=(1,),
        locations=BOTH,
    ),
    Case(18, "other bytes, the same ETag", (Rule(corrupt=BAD, covers=BAD, times=1),), (*ALL, 0, 1, 2), algorithm="md5"),
    Case(19, "gzip", once(encoding="gzip"), AGAIN, (19,)),
    Case(
        20,
        "a web page in the file's stead",
        (Rule(raw="HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin"),),
        NOTHING,
        (1, 20),
        ServerMisbehaves,
        "a web page of 5 bytes",
        many=(8, 8),
    ),
    Case(20, "511", once(status=511), AGAIN, (20,)),
    Case(20, "a proxy that transforms", once(fields=(("Warning", '214 proxy "changed"'),)), AGAIN, (20,)),
    Case(21, "a length and chunked", once(fields=(("Transfer-Encoding", "chunked"),)), AGAIN, (21,)),
    Case(22, "two lengths", once(fields=(("Content-Length", "1"), ("Content-Length", f"{CHUNK}"))), AGAIN, (22,)),
    Case(23, "chunked, no length", (Rule(chunked=True),)),
    Case(24, "the end of the connection for the end of the content", (Rule(close_delimited=True),)),
    Case(
        24,
        "that, too early",
        once(close_delimited=True, cut=5000),
        (*ALL, (CHUNK + 5000, 2 * CHUNK)),
        (24,),
    ),
    Case(25, "chunked, cut", once(chunked=True, cut=5000), (*ALL, (CHUNK + 5000, 2 * CHUNK)), (25,)),
    Case(25, "malformed chunks", answered(f"{PARTIAL}\nTransfer-Encoding: chunked", b"zz\r\n" + SECOND), AGAIN, (25,)),
    Case(26, "a head of 100 KB", answered("HTTP/1.1 206 OK" + "\nX-Long: y" * 9000), AGAIN, (26,)),
    Case(26, "interim answers without end", once(raw="HTTP/1.1 103 Early Hints\r\n\r\n" * 50), AGAIN, (26,)),
    Case(
        26,
        "trailers without end",
        answered(f"{PARTIAL}\nTransfer-Encoding: chunked", chunked(SECOND, "X-Long: y\r\n" * 9000)),
        AGAIN,
        (26,),
    ),
    Case(27, "a body without end", once(surplus=1 << 24, close_delimited=True), met=(27,), many=(6, 7)),
    Case(28, "405 to HEAD", (Rule(method="HEAD", status=405),)),
    Case(29, "Accept-Ranges: none", (Rule(ignore_range=True, fields=(("Accept-Ranges", "none"),)),), (0, None), (29,)),
    Case(30, "416 of our size", once(status=416, fields=(("Content-Range", f"bytes */{len(DATA)}"),)), AGAIN, (30,)),
    Case(
        30,
        "416 of another size",
        (Rule(status=416, fields=(("Content-Range", "bytes */50"),)),),
        (0,),
        (6,),
        SizeMismatch,
        "50 bytes where 328914 are declared",
    ),
    Case(31, "a RST", once(reset=0), AGAIN, (31,)),
    Case(32, "nothing more", once(stall=5000), (*ALL, (CHUNK + 5000, 2 * CHUNK)), (32,), drips=True),
    Case(33, "a head that does not come", once(delay=60.0), AGAIN, (32,), drips=True),
    Case(34, "408", once(status=408), AGAIN, (34,)),
    Case(
        34, "502 always", (Rule(status=502),), NOTHING, (34,), SourceUnavailable, "502", (1, 2), progress_deadline=0.0
    ),
    Case(35, "429 for a second", once(status=429, retry_after="1"), AGAIN, (35,)),
    Case(35, "503", once(status=503), AGAIN, (35,)),
    Case(36, "429 until 1994", once(status=429, retry_after="Sun, 06 Nov 1994 08:49:37 GMT"), AGAIN, (35,)),
    Case(
        36,
        "429 for a day, and another place",
        (Rule(status=429, retry_after="86400"),),
        (0,),
        (36,),
        other=ALL,
        locations=BOTH,
    ),
    Case(37, "401", (Rule(status=401),), (0,), (37,), Denied, "answered 401"),
    Case(
        38,
        "403 where a redirect led, once",
        (Rule(path="from", redirect="origin:a"), Rule(path="a", status=403, first=3, times=1)),
        (*ALL, 2),
        locations=FROM,
    ),
    Case(39, "403", (Rule(status=403),), (0,), (39,), Denied, "answered 403"),
    Case(39, "404", (Rule(status=404),), (0,), (39,), NotFound, "answered 404; check the URL"),
    Case(39, "410", (Rule(status=410),), (0,), (39,), NotFound, "answered 410"),
    Case(39, "404, and another place", (Rule(status=404),), (0,), (39,), other=ALL, locations=BOTH),
    Case(40, "421", once(status=421), AGAIN),
    Case(
        41,
        "a redirect to plain http",
        (Rule(path="from", redirect="plain:a"),),
        NOTHING,
        (41,),
        PlainHTTPRefused,
        "redirects to plain http",
        locations=FROM,
    ),
    Case(
        42, "a redirect to another server", (Rule(path="from", redirect="other:a"),), NOTHING, other=ALL, locations=FROM
    ),
    Case(
        43,
        "a redirect in a circle",
        (Rule(path="from", redirect="origin:b"), Rule(path="b", redirect="origin:from")),
        NOTHING,
        (43,) * 5,
        ServerMisbehaves,
        "redirects in a circle",
        locations=FROM,
    ),
    Case(
        43,
        "six redirects",
        tuple(Rule(path=f"{n}", redirect=f"origin:{n + 1}") for n in range(9)),
        NOTHING,
        (43,) * 5,
        ServerMisbehaves,
        "redirects more than 5 times",
        locations=("origin:0",),
    ),
    Case(
        44,
        "a redirect that alternates",
        tuple(Rule(path="from", redirect=f"{('other', 'origin')[n % 2]}:a", first=n, times=1) for n in range(1, 9)),
        locations=FROM,
    ),
    Case(51, "407", (Rule(status=407),), (0,), (51,), Denied, "answered 407"),
    Case(53, "a stale cache", once(corrupt=CHUNK + 9), AGAIN, (11,), digest=True),
    Case(54, "a longer file", (), (0,), (54,), SizeMismatch, "where 328914 are declared", served=DATA + b"more"),
    Case(
        55,
        "bytes that belong to nothing",
        answered(f"{PARTIAL}\nContent-Length: {CHUNK}", SECOND + b"HTTP/1.1 200"),
        AGAIN,
        (55,),
    ),
    Case(26, "another protocol", once(raw="SSH-2.0-OpenSSH\r\n"), AGAIN, (26,)),
    Case(56, "204", once(status=204), AGAIN, (56,)),
    Case(56, "304", once(status=304), AGAIN, (56,)),
    Case(56, "a 206 of nothing", answered(f"{PARTIAL}\nContent-Length: 0", b""), AGAIN, (56,)),
]
