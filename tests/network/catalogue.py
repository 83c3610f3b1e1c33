"""The catalogue of docs/hostile-servers.md as a table: what the origin does, and what the engine does then.

One file of six chunks, ``a``, is downloaded over one connection, so that each request is known in advance.
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
from modelferry.http.wire import ServerBehavior
from network.harness import CHUNK
from origin.rules import Rule

B = ServerBehavior

DATA = Random(7).randbytes(5 * CHUNK + 1234)
#: The offset of a byte in the third chunk.
BAD = 2 * CHUNK + 77

#: A request: the number of a complete chunk, a range (start, end) in bytes, or None for the file without a range.
RequestedRange = int | tuple[int, int] | None
ALL: tuple[RequestedRange, ...] = (0, 1, 2, 3, 4, 5)
NOTHING: tuple[RequestedRange, ...] = ()


@dataclass(frozen=True)
class Case:
    """One variant of a server behavior.

    ``rules`` make the origin misbehave. ``requests``: the requests for ``a`` at the origin, in any order;
    ``other_requests``: those at a second, correct server. ``behaviors``: the behaviors of the responses that were not
    used, in order. ``error`` and ``message``: how the download fails, if it does.

    ``request_count``: instead of ``requests``, the minimum and maximum number of requests, if timing decides which
    chunk is affected or how many responses are in transit. ``behaviors`` are then those that may occur.

    ``locations`` of ``a``: ``origin`` or ``other``, with the path. ``content``: what the origin serves, if it is not
    the declared content. ``short_timeouts``: the timeouts are 1 s, so the test takes a second.
    """

    behavior: ServerBehavior
    title: str
    rules: tuple[Rule, ...]
    requests: tuple[RequestedRange, ...] = ALL
    behaviors: tuple[ServerBehavior, ...] = ()
    error: type[ModelferryError] | None = None
    message: str = ""
    request_count: tuple[int, int] | None = None
    other_requests: tuple[RequestedRange, ...] = NOTHING
    algorithm: str | None = "sha256"
    digest: bool = False
    validator: str = ""
    locations: tuple[str, ...] = ("origin:a",)
    content: bytes = DATA
    short_timeouts: bool = False
    progress_deadline: float = 5.0


def once(**effects: object) -> tuple[Rule, ...]:
    """A rule with these effects, for one request for the second chunk."""
    return (Rule(covers=CHUNK, times=1, **effects),)  # type: ignore[arg-type]


def raw_response(head: str, body: bytes = DATA[CHUNK : 2 * CHUNK]) -> tuple[Rule, ...]:
    """A rule that sends these bytes as the response to one request for the second chunk."""
    return once(raw=head.replace("\n", "\r\n") + "\r\n\r\n" + body.decode("latin-1"))


def chunked(body: bytes, trailers: str = "") -> bytes:
    """`body` as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers.encode())


#: All chunks, and the second one again.
RETRIED: tuple[RequestedRange, ...] = (*ALL, 1)
RANGE = f"Content-Range: bytes {CHUNK}-{2 * CHUNK - 1}/{len(DATA)}"
PARTIAL = f"HTTP/1.1 206 Partial Content\n{RANGE}"
SECOND = DATA[CHUNK : 2 * CHUNK]
BOTH = ("origin:a", "other:a")
FROM = ("origin:from",)

CASES = [
    Case(
        B.IGNORED_RANGE,
        "200 with the complete file to a range request, twice",
        (Rule(ignore_range=True, covers=CHUNK, times=2),),
        (*RETRIED, 1),
        (B.IGNORED_RANGE, B.IGNORED_RANGE),
    ),
    Case(
        B.IGNORED_RANGE,
        "200 with the complete file to every range request",
        (Rule(ignore_range=True),),
        behaviors=(B.IGNORED_RANGE,),
        request_count=(4, 4),
    ),
    Case(B.RANGE_IN_200, "200 with the requested range", (Rule(status_200=True),)),
    Case(
        B.RANGE_IN_200,
        "200 with another range",
        once(ignore_range=True, content_range="bytes 0-9/{size}"),
        RETRIED,
        (B.RANGE_IN_200,),
    ),
    Case(B.WRONG_RANGE, "a unit in upper case", (Rule(content_range="Bytes {first}-{last}/{size}"),)),
    Case(
        B.WRONG_RANGE,
        "Content-Range with another offset",
        once(content_range="bytes 5-{last}/{size}"),
        RETRIED,
        (B.WRONG_RANGE,),
    ),
    Case(
        B.WRONG_RANGE,
        "a longer range",
        once(content_range=f"bytes {CHUNK}-{2 * CHUNK}/{{size}}"),
        RETRIED,
        (B.WRONG_RANGE,),
    ),
    Case(
        B.SHORTER_RANGE,
        "a shorter range",
        once(shorten=1000),
        (*ALL, (2 * CHUNK - 1000, 2 * CHUNK)),
        (B.SHORTER_RANGE,),
    ),
    Case(B.NO_CONTENT_RANGE, "206 without Content-Range", once(content_range=""), RETRIED, (B.NO_CONTENT_RANGE,)),
    Case(
        B.NO_CONTENT_RANGE,
        "206 without Content-Range, always",
        (Rule(content_range=""),),
        NOTHING,
        (B.NO_CONTENT_RANGE,),
        ServerMisbehaves,
        "206 without Content-Range",
        request_count=(5, 5),
    ),
    Case(
        B.SIZE_CHANGED,
        "a shorter file",
        (),
        NOTHING,
        (B.SIZE_CHANGED,),
        SizeMismatch,
        "where 328914 are declared",
        request_count=(3, 5),
        content=DATA[:-9],
    ),
    Case(
        B.SIZE_CHANGED,
        "a shorter file, without a digest",
        (),
        (0,),
        (B.SIZE_CHANGED,),
        SizeMismatch,
        "where 328914 are declared",
        algorithm=None,
        content=DATA[:-9],
    ),
    Case(
        B.SIZE_CHANGED,
        "another total in the first response",
        (Rule(content_range="bytes {first}-{last}/99999", times=1),),
        (0, *ALL),
        (B.SIZE_CHANGED,),
    ),
    Case(
        B.SIZE_CHANGED,
        "another total in one response",
        once(content_range="bytes {first}-{last}/199999"),
        RETRIED,
        (B.SIZE_CHANGED,),
    ),
    Case(
        B.SIZE_CHANGED,
        "another total in one response, without a digest",
        once(content_range="bytes {first}-{last}/199999"),
        (0, 1),
        (B.SIZE_CHANGED,),
        SizeMismatch,
        "has a file of 199999 bytes",
        algorithm=None,
    ),
    Case(B.UNKNOWN_TOTAL, "a total of *", (Rule(content_range="bytes {first}-{last}/*"),)),
    Case(
        B.MULTIPART_RANGE,
        "multipart/byteranges",
        once(fields=(("Content-Type", "multipart/byteranges; boundary=x"),)),
        RETRIED,
        (B.MULTIPART_RANGE,),
    ),
    Case(B.SHORT_BODY, "a short body", once(cut=40_000), (*ALL, (CHUNK + 40_000, 2 * CHUNK)), (B.SHORT_BODY,)),
    Case(
        B.SHORT_BODY,
        "a short body with a matching Content-Length",
        once(cut=5000, fields=(("Content-Length", "5000"),)),
        (*ALL, (CHUNK + 5000, 2 * CHUNK)),
        (B.SHORTER_RANGE,),
    ),
    Case(
        B.LONG_BODY,
        "bytes after the content",
        once(surplus=100),
        # They may arrive when the next request was sent, in the place of its response.
        behaviors=(B.SURPLUS_BYTES, B.INVALID_OR_OVERSIZED_HEAD),
        request_count=(6, 7),
    ),
    Case(B.LONG_BODY, "Content-Length longer than the range", once(extra=100), RETRIED, (B.LONG_BODY,)),
    Case(B.LONG_BODY, "a chunked body beyond the range", once(surplus=100, chunked=True), RETRIED, (B.LONG_BODY,)),
    Case(
        B.CORRUPT_CONTENT,
        "corrupt bytes once, with Content-Digest",
        once(corrupt=CHUNK + 9),
        RETRIED,
        (B.CORRUPT_CONTENT,),
        digest=True,
    ),
    Case(
        B.CORRUPT_CONTENT,
        "corrupt bytes always, with Content-Digest",
        (Rule(corrupt=BAD),),
        NOTHING,
        (B.CORRUPT_CONTENT,),
        DigestMismatch,
        "other bytes than its Content-Digest declares",
        request_count=(4, 9),
        digest=True,
    ),
    Case(
        B.CORRUPT_CONTENT,
        "corrupt bytes always, without Content-Digest",
        (Rule(corrupt=BAD),),
        (*ALL, *ALL),
        error=DigestMismatch,
        message="every chunk was fetched again",
    ),
    Case(
        B.CORRUPT_CONTENT,
        "corrupt bytes always, with Content-Digest and a second location",
        (Rule(corrupt=BAD),),
        behaviors=(B.CORRUPT_CONTENT,),
        other_requests=(2,),
        digest=True,
        locations=BOTH,
    ),
    Case(
        B.CORRUPT_CONTENT,
        "corrupt bytes always, with a second location",
        (Rule(corrupt=BAD),),
        other_requests=ALL,
        locations=BOTH,
    ),
    Case(
        B.VALIDATOR_CHANGED,
        "another ETag, with a digest",
        (Rule(etag='"v2"', first=3),),
        behaviors=(B.VALIDATOR_CHANGED,),
        request_count=(9, 9),
    ),
    Case(
        B.VALIDATOR_CHANGED,
        "another ETag and other content in one response, with a digest",
        once(etag='"v2"', corrupt=BAD),
        RETRIED,
        (B.VALIDATOR_CHANGED,),
    ),
    Case(
        B.VALIDATOR_CHANGED,
        "another ETag, without a digest",
        (Rule(etag='"v2"', first=3),),
        (0, 1, 2, *ALL),
        (B.VALIDATOR_CHANGED,),
        algorithm=None,
    ),
    Case(
        B.VALIDATOR_CHANGED,
        "another ETag in each response",
        tuple(Rule(etag=f'"v{number}"', first=number, times=1) for number in range(1, 60)),
        (0, 1, 0, 1, 0, 1, 0, 1),
        (B.VALIDATOR_CHANGED,) * 4,
        SourceChanged,
        "changed while it was fetched",
        algorithm=None,
    ),
    Case(
        B.VALIDATOR_CHANGED,
        "another ETag than the resolved one",
        (),
        (0,),
        (B.VALIDATOR_CHANGED,),
        SourceChanged,
        "another version than the one that was resolved",
        algorithm=None,
        validator='"resolved"',
    ),
    Case(B.PRECONDITION_FAILED, "412, with a digest", once(status=412), RETRIED, (B.PRECONDITION_FAILED,)),
    Case(
        B.PRECONDITION_FAILED,
        "412, without a digest",
        (Rule(status=412, first=3, times=1),),
        (0, 1, 2, *ALL),
        (B.PRECONDITION_FAILED,),
        algorithm=None,
    ),
    Case(B.WEAK_VALIDATOR, "a weak ETag, with a digest", (Rule(etag='W/"v"'),)),
    Case(
        B.WEAK_VALIDATOR,
        "a weak ETag, without a digest",
        (Rule(etag='W/"v"'),),
        (0, None),
        (B.WEAK_VALIDATOR,),
        algorithm=None,
    ),
    Case(B.NO_VALIDATOR, "no validator, with a digest", (Rule(etag=""),)),
    Case(
        B.NO_VALIDATOR, "no validator, without a digest", (Rule(etag=""),), (0, None), (B.NO_VALIDATOR,), algorithm=None
    ),
    Case(
        B.NO_VALIDATOR,
        "an ETag without quotes and a Last-Modified, without a digest",
        (Rule(etag="v1", last_modified="Sun, 06 Nov 1994 08:49:37 GMT"),),
        algorithm=None,
    ),
    Case(
        B.NO_VALIDATOR,
        "an ETag without quotes, without a digest",
        (Rule(etag="v1", last_modified=""),),
        (0, None),
        (B.NO_VALIDATOR,),
        algorithm=None,
    ),
    Case(
        B.NO_VALIDATOR,
        "no validator, and a stream that breaks",
        (Rule(etag=""), Rule(ranged=False, cut=3 * CHUNK + 10, times=1)),
        (0, None, None),
        (B.NO_VALIDATOR, B.SHORT_BODY),
        algorithm=None,
    ),
    Case(
        B.LAST_MODIFIED_TOO_RECENT,
        "a Last-Modified of this second, with a digest",
        (Rule(etag="", last_modified="{date}"),),
    ),
    Case(
        B.LAST_MODIFIED_TOO_RECENT,
        "a Last-Modified of this second, without a digest",
        (Rule(etag="", last_modified="{date}"),),
        (0, None),
        (B.LAST_MODIFIED_TOO_RECENT,),
        algorithm=None,
    ),
    Case(
        B.VALIDATORS_DIFFER_ACROSS_MIRRORS,
        "another mirror's ETag",
        (Rule(covers=CHUNK, status=500, times=1), Rule(etag='"here"')),
        behaviors=(B.SERVER_ERROR,),
        other_requests=(1,),
        locations=BOTH,
    ),
    Case(
        B.SAME_VALIDATOR_OTHER_CONTENT,
        "other content, the same ETag",
        (Rule(corrupt=BAD, covers=BAD, times=1),),
        (*ALL, 0, 1, 2),
        algorithm="md5",
    ),
    Case(
        B.CONTENT_ENCODING,
        "compressed on the way, with a digest",
        once(encoding="gzip", fields=(("Content-Length", "5000"),), cut=5000),
        RETRIED,
        (B.CONTENT_ENCODING,),
    ),
    Case(B.CONTENT_ENCODING, "stored as gzip, with a digest", (Rule(encoding="gzip"),)),
    Case(B.CONTENT_ENCODING, "stored as aws-chunked", (Rule(encoding="aws-chunked"),), algorithm=None),
    Case(
        B.CONTENT_ENCODING,
        "stored as gzip, without a digest",
        (Rule(encoding="gzip"),),
        NOTHING,
        (B.CONTENT_ENCODING,),
        ServerMisbehaves,
        "declare the digest of the stored bytes",
        request_count=(5, 5),
        algorithm=None,
    ),
    Case(
        B.CAPTIVE_PORTAL,
        "a web page instead of the file",
        (Rule(raw="HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin"),),
        NOTHING,
        (B.IGNORED_RANGE, B.CAPTIVE_PORTAL),
        ServerMisbehaves,
        "a web page of 5 bytes",
        request_count=(8, 8),
    ),
    Case(B.CAPTIVE_PORTAL, "511", once(status=511), RETRIED, (B.CAPTIVE_PORTAL,)),
    Case(
        B.CAPTIVE_PORTAL,
        "a proxy that transforms the content",
        once(fields=(("Warning", '214 proxy "changed"'),)),
        RETRIED,
        (B.CAPTIVE_PORTAL,),
    ),
    Case(
        B.LENGTH_AND_TRANSFER_ENCODING,
        "Content-Length and chunked",
        once(fields=(("Transfer-Encoding", "chunked"),)),
        RETRIED,
        (B.LENGTH_AND_TRANSFER_ENCODING,),
    ),
    Case(
        B.CONFLICTING_LENGTHS,
        "two Content-Length fields",
        once(fields=(("Content-Length", "1"), ("Content-Length", f"{CHUNK}"))),
        RETRIED,
        (B.CONFLICTING_LENGTHS,),
    ),
    Case(
        B.CONFLICTING_LENGTHS,
        "two equal Content-Length fields",
        (Rule(covers=CHUNK, fields=(("Content-Length", f"{CHUNK}"),) * 2),),
    ),
    Case(B.CHUNKED_PARTIAL_CONTENT, "chunked, without Content-Length", (Rule(chunked=True),)),
    Case(B.CLOSED_EARLY, "content delimited by the end of the connection", (Rule(close_delimited=True),)),
    Case(
        B.CLOSED_EARLY,
        "content delimited by the end of the connection, cut",
        once(close_delimited=True, cut=5000),
        (*ALL, (CHUNK + 5000, 2 * CHUNK)),
        (B.CLOSED_EARLY,),
    ),
    Case(
        B.CHUNKED_BODY_CUT,
        "chunked, cut",
        once(chunked=True, cut=5000),
        (*ALL, (CHUNK + 5000, 2 * CHUNK)),
        (B.CHUNKED_BODY_CUT,),
    ),
    Case(B.CHUNKED_BODY_CUT, "chunked, cut before the last chunk", (Rule(chunked=True, covers=CHUNK, cut=CHUNK),)),
    Case(
        B.CHUNKED_BODY_CUT,
        "chunked, cut before the last chunk, without a digest",
        (Rule(chunked=True, covers=CHUNK, cut=CHUNK),),
        algorithm=None,
    ),
    Case(
        B.CHUNKED_BODY_CUT,
        "malformed chunks",
        raw_response(f"{PARTIAL}\nTransfer-Encoding: chunked", b"zz\r\n" + SECOND),
        RETRIED,
        (B.CHUNKED_BODY_CUT,),
    ),
    Case(
        B.INVALID_OR_OVERSIZED_HEAD,
        "a head of 100 KB",
        raw_response("HTTP/1.1 206 OK" + "\nX-Long: y" * 9000),
        RETRIED,
        (B.INVALID_OR_OVERSIZED_HEAD,),
    ),
    Case(B.INVALID_OR_OVERSIZED_HEAD, "a folded field", (Rule(fields=(("X-Policy", "a;\r\n b"),)),)),
    Case(
        B.INVALID_OR_OVERSIZED_HEAD,
        "lines that end in a lone LF",
        once(raw=f"{PARTIAL}\nContent-Length: {CHUNK}\n\n" + SECOND.decode("latin-1")),
    ),
    Case(
        B.INVALID_OR_OVERSIZED_HEAD,
        "two kinds of line ends",
        once(raw=f"{PARTIAL}\nContent-Length: {CHUNK}\r\n\r\n" + SECOND.decode("latin-1")),
        RETRIED,
        (B.INVALID_OR_OVERSIZED_HEAD,),
    ),
    Case(
        B.INVALID_OR_OVERSIZED_HEAD,
        "endless interim responses",
        once(raw="HTTP/1.1 103 Early Hints\r\n\r\n" * 50),
        RETRIED,
        (B.INVALID_OR_OVERSIZED_HEAD,),
    ),
    Case(
        B.INVALID_OR_OVERSIZED_HEAD,
        "endless trailers",
        raw_response(f"{PARTIAL}\nTransfer-Encoding: chunked", chunked(SECOND, "X-Long: y\r\n" * 9000)),
        RETRIED,
        (B.INVALID_OR_OVERSIZED_HEAD,),
    ),
    Case(
        B.ENDLESS_BODY,
        "an endless body",
        once(surplus=1 << 24, close_delimited=True),
        behaviors=(B.ENDLESS_BODY,),
        request_count=(6, 7),
    ),
    Case(B.HEAD_UNSUPPORTED, "405 to HEAD", (Rule(method="HEAD", status=405),)),
    Case(
        B.ACCEPT_RANGES_NONE,
        "Accept-Ranges: none",
        (Rule(ignore_range=True, fields=(("Accept-Ranges", "none"),)),),
        (0, None),
        (B.ACCEPT_RANGES_NONE,),
    ),
    Case(
        B.RANGE_NOT_SATISFIABLE,
        "416 with the declared size",
        once(status=416, fields=(("Content-Range", f"bytes */{len(DATA)}"),)),
        RETRIED,
        (B.RANGE_NOT_SATISFIABLE,),
    ),
    Case(
        B.RANGE_NOT_SATISFIABLE,
        "416 with another size",
        (Rule(status=416, fields=(("Content-Range", "bytes */50"),)),),
        NOTHING,
        (B.SIZE_CHANGED,),
        SizeMismatch,
        "50 bytes where 328914 are declared",
        request_count=(3, 5),
    ),
    Case(B.CONNECTION_RESET, "a TCP reset", once(reset=0), RETRIED, (B.CONNECTION_RESET,)),
    Case(
        B.STALLED,
        "a stalled body",
        once(stall=5000),
        (*ALL, (CHUNK + 5000, 2 * CHUNK)),
        (B.STALLED,),
        short_timeouts=True,
    ),
    Case(B.SLOW_HEAD, "a head that does not arrive", once(delay=60.0), RETRIED, (B.STALLED,), short_timeouts=True),
    Case(B.SERVER_ERROR, "408", once(status=408), RETRIED, (B.SERVER_ERROR,)),
    Case(
        B.SERVER_ERROR,
        "502 always",
        (Rule(status=502),),
        NOTHING,
        (B.SERVER_ERROR,),
        SourceUnavailable,
        "502",
        (1, 2),
        progress_deadline=0.0,
    ),
    Case(B.RETRY_AFTER, "429 with Retry-After: 1", once(status=429, retry_after="1"), RETRIED, (B.RETRY_AFTER,)),
    Case(B.RETRY_AFTER, "503", once(status=503), RETRIED, (B.RETRY_AFTER,)),
    Case(
        B.ABSURD_RETRY_AFTER,
        "429 with a Retry-After in 1994",
        once(status=429, retry_after="Sun, 06 Nov 1994 08:49:37 GMT"),
        RETRIED,
        (B.RETRY_AFTER,),
    ),
    Case(
        B.ABSURD_RETRY_AFTER,
        "429 for a day, with a second location",
        (Rule(status=429, retry_after="86400"),),
        NOTHING,
        (B.ABSURD_RETRY_AFTER,),
        request_count=(1, 2),
        other_requests=ALL,
        locations=BOTH,
    ),
    Case(B.UNAUTHORIZED, "401", (Rule(status=401),), (0,), (B.UNAUTHORIZED,), Denied, "answered 401"),
    Case(
        B.URL_EXPIRED,
        "403 once, from the target of a redirect",
        (Rule(path="from", redirect="origin:a"), Rule(path="a", status=403, first=3, times=1)),
        (*ALL, 2),
        locations=FROM,
    ),
    Case(
        B.NOT_AVAILABLE,
        "403",
        (Rule(status=403),),
        (0, None),
        (B.NOT_AVAILABLE, B.NOT_AVAILABLE),
        Denied,
        "answered 403",
    ),
    Case(
        B.NOT_AVAILABLE, "404", (Rule(status=404),), (0,), (B.NOT_AVAILABLE,), NotFound, "answered 404; check the URL"
    ),
    Case(B.NOT_AVAILABLE, "410", (Rule(status=410),), (0,), (B.NOT_AVAILABLE,), NotFound, "answered 410"),
    Case(
        B.NOT_AVAILABLE,
        "404, with a second location",
        (Rule(status=404),),
        (0,),
        (B.NOT_AVAILABLE,),
        other_requests=ALL,
        locations=BOTH,
    ),
    *(
        Case(B.NOT_AVAILABLE, f"one {status} after a good response", once(status=status), RETRIED, (B.NOT_AVAILABLE,))
        for status in (400, 403, 404, 410)
    ),
    Case(
        B.NOT_AVAILABLE,
        "one 404 after a good response, without a digest",
        once(status=404),
        RETRIED,
        (B.NOT_AVAILABLE,),
        algorithm=None,
    ),
    Case(
        B.NOT_AVAILABLE,
        "404 from the third response on",
        (Rule(status=404, first=3),),
        NOTHING,
        (B.NOT_AVAILABLE,),
        NotFound,
        "answered 404; check the URL",
        request_count=(10, 20),
    ),
    Case(
        B.NOT_AVAILABLE,
        "404 from the third response on, with a second location",
        (Rule(status=404, first=3),),
        ALL,
        (B.NOT_AVAILABLE,) * 4,
        other_requests=(2, 3, 4, 5),
        locations=BOTH,
    ),
    Case(B.MISDIRECTED_REQUEST, "421", once(status=421), RETRIED),
    Case(
        B.REDIRECT_TO_PLAIN_HTTP,
        "a redirect to plain http",
        (Rule(path="from", redirect="plain:a"),),
        NOTHING,
        (B.REDIRECT_TO_PLAIN_HTTP,),
        PlainHTTPRefused,
        "redirects to plain http",
        locations=FROM,
    ),
    Case(
        B.CROSS_ORIGIN_REDIRECT,
        "a redirect to another server",
        (Rule(path="from", redirect="other:a"),),
        NOTHING,
        other_requests=ALL,
        locations=FROM,
    ),
    Case(
        B.REDIRECT_LOOP,
        "a redirect loop",
        (Rule(path="from", redirect="origin:b"), Rule(path="b", redirect="origin:from")),
        NOTHING,
        (B.REDIRECT_LOOP,) * 5,
        ServerMisbehaves,
        "redirects in a circle",
        locations=FROM,
    ),
    Case(
        B.REDIRECT_LOOP,
        "six redirects",
        tuple(Rule(path=f"{n}", redirect=f"origin:{n + 1}") for n in range(9)),
        NOTHING,
        (B.REDIRECT_LOOP,) * 5,
        ServerMisbehaves,
        "redirects more than 5 times",
        locations=("origin:0",),
    ),
    Case(
        B.REDIRECTED,
        "a redirect that alternates",
        tuple(Rule(path="from", redirect=f"{('other', 'origin')[n % 2]}:a", first=n, times=1) for n in range(1, 9)),
        locations=FROM,
    ),
    Case(
        B.PROXY_AUTHENTICATION_REQUIRED,
        "407",
        (Rule(status=407),),
        (0,),
        (B.PROXY_AUTHENTICATION_REQUIRED,),
        Denied,
        "answered 407",
    ),
    Case(B.STALE_CACHE, "a stale cache", once(corrupt=CHUNK + 9), RETRIED, (B.CORRUPT_CONTENT,), digest=True),
    Case(
        B.FILE_GREW,
        "a longer file",
        (),
        NOTHING,
        (B.FILE_GREW,),
        SizeMismatch,
        "where 328914 are declared",
        request_count=(3, 5),
        content=DATA + b"more",
    ),
    Case(
        B.SURPLUS_BYTES,
        "bytes after the response",
        raw_response(f"{PARTIAL}\nContent-Length: {CHUNK}", SECOND + b"HTTP/1.1 200"),
        RETRIED,
        (B.SURPLUS_BYTES,),
    ),
    Case(
        B.INVALID_OR_OVERSIZED_HEAD,
        "another protocol",
        once(raw="SSH-2.0-OpenSSH\r\n"),
        RETRIED,
        (B.INVALID_OR_OVERSIZED_HEAD,),
    ),
    Case(B.NO_CONTENT, "204", once(status=204), RETRIED, (B.NO_CONTENT,)),
    Case(B.NO_CONTENT, "304", once(status=304), RETRIED, (B.NO_CONTENT,)),
    Case(B.NO_CONTENT, "an empty 206", raw_response(f"{PARTIAL}\nContent-Length: 0", b""), RETRIED, (B.NO_CONTENT,)),
]
