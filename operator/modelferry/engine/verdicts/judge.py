"""judge(request, head, expectation): what a response is good for. Pure.

The server behaviors of docs/hostile-servers.md that show in a head are here, those that show in the body in `ended`,
and those of the connection in `download.attempt_runner`.
"""

from __future__ import annotations

from dataclasses import replace

from modelferry.engine.verdicts.verdict import Action, Expectation, Verdict
from modelferry.errors import (
    Denied,
    NotFound,
    PlainHTTPRefused,
    ServerMisbehaves,
    SizeMismatch,
    SourceChanged,
    SourceUnavailable,
)
from modelferry.http.backoff import ABSURD_DELAY
from modelferry.http.wire import Framing, Head, Origin, ProtocolError, Request, ServerBehavior
from modelferry.http.wire.fields import (
    ContentRange,
    content_coding,
    content_range,
    content_sha256,
    retry_after,
    validator,
    version_mark,
)
from modelferry.http.wire.framing import framing_of
from modelferry.http.wire.redirects import MAX_REDIRECTS, REDIRECTS, redirect_target

#: What a body that ends early is, by how its end was to be known.
_CUT_SHORT = {
    "length": ServerBehavior.SHORT_BODY,
    "chunked": ServerBehavior.CHUNKED_BODY_CUT,
    "close": ServerBehavior.CLOSED_EARLY,
}
_DENIED = {
    401: ServerBehavior.UNAUTHORIZED,
    403: ServerBehavior.NOT_AVAILABLE,
    407: ServerBehavior.PROXY_AUTHENTICATION_REQUIRED,
}


def judge(request: Request, head: Head, expectation: Expectation) -> Verdict:
    """The verdict on the response that begins with `head`."""
    try:
        framing = framing_of(head)
    except ProtocolError as error:
        return _suspect(error.behavior, error.message)
    if head.status == 206:
        return _partial(request, head, framing, expectation)
    if head.status == 200:
        return _entire_file(request, head, framing, expectation)
    if head.status in REDIRECTS:
        return _redirect(request, head, expectation)
    return _status(head, expectation)


def ended(taken: int, verdict: Verdict, surplus: bool) -> Verdict | None:
    """What the end of a body says after a TAKE: None if all of it arrived.

    ``taken``: content bytes that arrived; ``surplus``: bytes followed the end of the framing. The count decides: of a
    chunked body whose last chunk is missing, all bytes may have arrived.
    """
    if taken > verdict.length:
        behavior = ServerBehavior.ENDLESS_BODY if verdict.framing.kind == "close" else ServerBehavior.LONG_BODY
        return _suspect(behavior, f"sent more than the {verdict.length} bytes that it announced")
    if taken == verdict.length:
        surplus_bytes = _suspect(ServerBehavior.SURPLUS_BYTES, "sent bytes after the content that were not requested")
        return surplus_bytes if surplus else None
    return Verdict(
        Action.WAIT,
        _CUT_SHORT[verdict.framing.kind],
        f"ended after {taken} of {verdict.length} bytes",
        SourceUnavailable,
    )


def _partial(request: Request, head: Head, framing: Framing, expectation: Expectation) -> Verdict:
    if request.end is None:
        return _suspect(ServerBehavior.WRONG_RANGE, "answered 206 to a request without a range")
    if (head.get("content-type") or "").lower().startswith("multipart/byteranges"):
        return _suspect(ServerBehavior.MULTIPART_RANGE, "answered one range with multipart/byteranges")
    text = head.get("content-range")
    if text is None:
        return _suspect(ServerBehavior.NO_CONTENT_RANGE, "answered 206 without Content-Range")
    span = content_range(text)
    if span is None or span.start is None or span.end is None:
        return _suspect(ServerBehavior.NO_CONTENT_RANGE, "answered 206 with a malformed Content-Range")
    if wrong := _wrong_size(span.total, expectation):
        return wrong
    if span.start != request.start or span.end > request.end:
        wanted = f"{request.start}-{request.end - 1}"
        return _suspect(
            ServerBehavior.WRONG_RANGE, f"answered bytes {span.start}-{span.end - 1} where {wanted} were requested"
        )
    return _content(request, head, framing, expectation, span)


def _entire_file(request: Request, head: Head, framing: Framing, expectation: Expectation) -> Verdict:
    if head.get("content-range") is not None:
        return _range_in_200(request, head, framing, expectation)
    if request.end is not None:
        if coded := _transformed(head, framing, expectation.size, expectation):
            return coded
        none = (head.get("accept-ranges") or "").strip().lower() == "none"
        behavior = ServerBehavior.ACCEPT_RANGES_NONE if none else ServerBehavior.IGNORED_RANGE
        return Verdict(Action.STREAM, behavior, "ignored the requested range", ServerMisbehaves)
    if wrong := _wrong_size(framing.length if framing.kind == "length" else None, expectation):
        is_page = (head.get("content-type") or "").lower().startswith("text/html")
        return (
            _suspect(ServerBehavior.CAPTIVE_PORTAL, f"answered with a web page of {framing.length} bytes")
            if is_page
            else wrong
        )
    return _content(request, head, framing, expectation, ContentRange(0, expectation.size, expectation.size))


def _range_in_200(request: Request, head: Head, framing: Framing, expectation: Expectation) -> Verdict:
    """A 200 that should have been a 206, as ModelScope sends it: it is accepted if two fields say that the content is
    what was requested, the Content-Range and the Content-Length."""
    span = content_range(head.get("content-range") or "")
    requested = (request.start, expectation.size if request.end is None else request.end)
    if span is None or (span.start, span.end) != requested or framing != Framing("length", requested[1] - requested[0]):
        return _suspect(
            ServerBehavior.RANGE_IN_200,
            "answered 200 with a Content-Range that is not the requested one, or no length",
        )
    if wrong := _wrong_size(span.total, expectation):
        return wrong
    verdict = _content(request, head, framing, expectation, span)
    return replace(verdict, behavior=ServerBehavior.RANGE_IN_200) if verdict.action is Action.TAKE else verdict


def _content(request: Request, head: Head, framing: Framing, expectation: Expectation, span: ContentRange) -> Verdict:
    """TAKE, unless the coding, the length or the validator forbid it."""
    start, length = span.start or 0, (span.end or 0) - (span.start or 0)
    if coded := _transformed(head, framing, length, expectation):
        return coded
    if framing.kind == "length" and framing.length != length:
        if framing.length > length:
            return _suspect(ServerBehavior.LONG_BODY, f"announced {framing.length} bytes for a range of {length}")
        if framing.length == 0:
            return _suspect(ServerBehavior.NO_CONTENT, "answered without content")
    tag, weakness = validator(head)
    if changed := _changed(head, request, expectation):
        return changed
    behavior = _variation(request, head, framing, expectation, span)
    if behavior is ServerBehavior.SHORT_BODY:
        length = framing.length
    elif behavior is ServerBehavior.WELL_BEHAVED and not tag:
        behavior = weakness
    # A body that is shorter than its range is not the content that the digest was made of.
    digest = None if behavior is ServerBehavior.SHORT_BODY else content_sha256(head)
    return Verdict(Action.TAKE, behavior, start=start, length=length, validator=tag, digest=digest, framing=framing)


def _variation(
    request: Request, head: Head, framing: Framing, expectation: Expectation, span: ContentRange
) -> ServerBehavior:
    """What is unusual about a response whose content is accepted."""
    if framing.kind == "length" and framing.length < (span.end or 0) - (span.start or 0):
        return ServerBehavior.SHORT_BODY
    if request.end is not None and span.end != request.end:
        return ServerBehavior.SHORTER_RANGE
    if framing.kind == "chunked" and head.status == 206:
        return ServerBehavior.CHUNKED_PARTIAL_CONTENT
    if span.total is None:
        return ServerBehavior.UNKNOWN_TOTAL
    if content_coding(head.get("content-encoding")) is not None:
        return ServerBehavior.CONTENT_ENCODING
    if expectation.validator not in (None, validator(head)[0]):
        return ServerBehavior.VALIDATOR_CHANGED
    return ServerBehavior.WELL_BEHAVED


def _wrong_size(total: int | None, expectation: Expectation) -> Verdict | None:
    # The total may be "*": every size in a manifest is pinned, so the count decides.
    if total is None or total == expectation.size:
        return None
    behavior = ServerBehavior.FILE_GREW if total > expectation.size else ServerBehavior.SIZE_CHANGED
    message = f"has a file of {total} bytes where {expectation.size} are declared"
    return Verdict(Action.REFUSE, behavior, message, SizeMismatch)


def _transformed(head: Head, framing: Framing, length: int, expectation: Expectation) -> Verdict | None:
    """Is the content something else than the `length` bytes of the file that were requested?"""
    coding = content_coding(head.get("content-encoding"))
    # An object that is stored compressed is sent as it is stored: the declared digest is of these bytes. A content that
    # is compressed on the way has another length, or none.
    if coding is not None and not (expectation.pinned and framing == Framing("length", length)):
        remedy = (
            "and not the declared bytes"
            if expectation.pinned
            else "though identity was requested; if the file is stored so, declare the digest of the stored bytes"
        )
        return _suspect(ServerBehavior.CONTENT_ENCODING, f"sent content in {coding} {remedy}")
    if any(value.strip().startswith("214") for value in head.all("warning")):
        return _suspect(ServerBehavior.CAPTIVE_PORTAL, "sent content that a proxy transformed (Warning 214)")
    return None


def _changed(head: Head, request: Request, expectation: Expectation) -> Verdict | None:
    """Is this another version of the file?"""
    known, (tag, weakness) = expectation.validator, validator(head)
    if expectation.pinned:
        # Two healthy nodes behind one name may carry different ETags: if nothing else is left, the digest decides.
        if known and tag and tag != known and expectation.alternatives:
            return Verdict(
                Action.SUSPECT,
                ServerBehavior.VALIDATOR_CHANGED,
                "changed its validator while the file was fetched",
                SourceChanged,
            )
        return None
    one_response = request.start == 0 and request.end in (None, expectation.size)
    if expectation.mark and version_mark(head) != expectation.mark:
        return Verdict(
            Action.REFUSE,
            ServerBehavior.VALIDATOR_CHANGED,
            "has another version than the one that was resolved",
            SourceChanged,
        )
    if known and tag and tag != known:
        return Verdict(
            Action.RESTART,
            ServerBehavior.VALIDATOR_CHANGED,
            "changed its validator while the file was fetched",
            SourceChanged,
        )
    if not tag and not one_response:
        what = "a weak validator" if weakness is ServerBehavior.WEAK_VALIDATOR else "no strong validator"
        return Verdict(Action.STREAM, weakness, f"has {what}, and no digest is known", ServerMisbehaves)
    return None


def _redirect(request: Request, head: Head, expectation: Expectation) -> Verdict:
    """A redirect to follow, or why not (RFC 9110 section 15.4)."""
    location = redirect_target(request.url, head.get("location"))
    if location is None:
        return _suspect(ServerBehavior.REDIRECT_LOOP, f"answered {head.status} without a usable Location")
    if Origin.of(location).scheme == "http" and not expectation.plain_http:
        message = "redirects to plain http://, which is refused"
        return Verdict(Action.REFUSE, ServerBehavior.REDIRECT_TO_PLAIN_HTTP, message, PlainHTTPRefused)
    cookie = ", and sets a cookie: it wants a browser, to sign in for example" if head.get("set-cookie") else ""
    if location in (request.url, *expectation.hops):
        return _suspect(ServerBehavior.REDIRECT_LOOP, f"redirects in a circle{cookie}")
    if len(expectation.hops) >= MAX_REDIRECTS:
        return _suspect(ServerBehavior.REDIRECT_LOOP, f"redirects more than {MAX_REDIRECTS} times{cookie}")
    return Verdict(Action.FOLLOW, ServerBehavior.REDIRECTED, location=location)


def _status(head: Head, expectation: Expectation) -> Verdict:
    """Every status without content for us."""
    status, said = head.status, f"answered {head.status}"
    if status in (429, 503):
        delay = retry_after(head)
        absurd = delay is not None and delay >= ABSURD_DELAY
        behavior = ServerBehavior.ABSURD_RETRY_AFTER if absurd else ServerBehavior.RETRY_AFTER
        return Verdict(Action.WAIT, behavior, said, SourceUnavailable, delay=delay)
    if status in (401, 403, 407):
        return Verdict(Action.REFUSE, _DENIED[status], said, Denied)
    if status in (404, 410):
        return Verdict(Action.REFUSE, ServerBehavior.NOT_AVAILABLE, said, NotFound)
    if status == 412:
        return Verdict(
            Action.SUSPECT if expectation.pinned else Action.RESTART,
            ServerBehavior.PRECONDITION_FAILED,
            said,
            SourceChanged,
        )
    if status == 416:
        span = content_range(head.get("content-range") or "")
        return _wrong_size(span.total if span else None, expectation) or _suspect(
            ServerBehavior.RANGE_NOT_SATISFIABLE, f"{said} to a range within the file"
        )
    if status == 421:
        return Verdict(Action.RECONNECT, ServerBehavior.MISDIRECTED_REQUEST, said, SourceUnavailable)
    if status == 511 or status == 203:
        message = f"{said}: something on the network path answers instead of the server"
        return _suspect(ServerBehavior.CAPTIVE_PORTAL, message)
    if status in (204, 304):
        return _suspect(ServerBehavior.NO_CONTENT, said)
    if status == 408 or status >= 500:
        return Verdict(Action.WAIT, ServerBehavior.SERVER_ERROR, said, SourceUnavailable)
    if status < 400:
        return _suspect(ServerBehavior.NO_CONTENT, said)
    return Verdict(Action.REFUSE, ServerBehavior.NOT_AVAILABLE, said, ServerMisbehaves)


def _suspect(behavior: ServerBehavior, message: str) -> Verdict:
    return Verdict(Action.SUSPECT, behavior, message, ServerMisbehaves)
