"""The rules of the misbehaving origin: which requests they match, and the replies. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request: ``start`` and ``end`` (exclusive) of its range, None without a range."""

    path: str
    start: int | None = None
    end: int | None = None
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    query: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests a rule matches, and what the origin does to them.

    It matches requests for ``path`` (a glob), with this ``method`` if given, whose range covers the byte ``covers``
    (None: any), with or without a range (``ranged``; None: both). It applies from the ``first`` matching request on
    (counted from 1), ``times`` times (None: always).

    The effects, which may be combined:

    - ``corrupt``: changes the byte at this offset of the file, if the reply contains it. - ``ignore_range``: sends the
    complete file with 200. - ``status_200``: answers a range request with status 200, otherwise correctly. -
    ``content_range``: sends this Content-Range ("" for none); ``{first}``, ``{last}`` and ``{size}`` are replaced by
    the correct values. - ``shorten``: sends a range that is this many bytes shorter. - ``cut``: closes after this many
    bytes of content; ``reset``: the same with a TCP reset; ``stall``: then sends nothing more. - ``extra``: sends this
    many bytes more, with a matching Content-Length; ``surplus``: with the correct Content-Length. - ``etag``,
    ``last_modified``: sends these values ("" for none); ``{date}`` is replaced by the Date of the reply. -
    ``encoding``: sends this Content-Encoding. - ``status``: sends this status, with ``retry_after`` if set;
    ``redirect``: sends 302 with this Location. - ``rate``: bytes per second of this reply. ``chunked``,
    ``close_delimited``: the framing of the content. - ``digest``: sends a Content-Digest of the correct bytes, or does
    not. ``fields``: adds these fields, or replaces those of the same name. - ``authorization``: sends 401, with
    ``fields``, unless the request has this Authorization. - ``presigned``: sends 403 if X-Amz-Date and X-Amz-Expires do
    not permit the URL now. - ``raw``: sends these bytes (latin-1) and closes the connection. ``delay``: seconds before
    the head.
    """

    path: str = "*"
    method: str = ""
    covers: int | None = None
    ranged: bool | None = None
    first: int = 1
    times: int | None = None
    corrupt: int | None = None
    ignore_range: bool = False
    status_200: bool = False
    content_range: str | None = None
    shorten: int = 0
    cut: int | None = None
    reset: int | None = None
    stall: int | None = None
    extra: int = 0
    surplus: int = 0
    etag: str | None = None
    last_modified: str | None = None
    encoding: str = ""
    status: int | None = None
    retry_after: str = ""
    redirect: str = ""
    rate: float | None = None
    chunked: bool = False
    close_delimited: bool = False
    digest: bool | None = None
    fields: tuple[tuple[str, str], ...] = ()
    raw: str | None = None
    delay: float = 0.0
    authorization: str = ""
    presigned: bool = False

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Rule:
        """From JSON; raises TypeError for unknown keys."""
        fields = tuple((name, value) for name, value in body.get("fields", ()))
        return cls(**{**body, "fields": fields})

    def matches(self, request: ReceivedRequest) -> bool:
        """Whether the rule matches `request`."""
        if not fnmatchcase(request.path.lstrip("/"), self.path.lstrip("/")):
            return False
        if self.method and self.method != request.method:
            return False
        if self.ranged is not None and self.ranged != (request.start is not None):
            return False
        if self.covers is None:
            return True
        return (request.start or 0) <= self.covers and (request.end is None or self.covers < request.end)


def read_rules(text: str) -> list[Rule]:
    """Parse a JSON list of rules."""
    return [Rule.of(body) for body in json.loads(text)]


class Script:
    """Rules, with the number of requests that each has matched."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = [(rule, [0]) for rule in rules]

    def add(self, rule: Rule) -> None:
        """Add a rule."""
        self._rules.append((rule, [0]))

    def clear(self) -> None:
        """Remove all rules."""
        self._rules.clear()

    def apply(self, request: ReceivedRequest) -> list[Rule]:
        """Count `request`, and return the rules that apply to it."""
        chosen = []
        for rule, count in self._rules:
            if rule.matches(request):
                count[0] += 1
                if count[0] >= rule.first and (rule.times is None or count[0] < rule.first + rule.times):
                    chosen.append(rule)
        return chosen


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to send: ``start`` to ``end`` are the bytes of the file in it."""

    status: int
    fields: tuple[tuple[str, str], ...]
    start: int = 0
    end: int = 0
    framing: str = "length"
    flips: tuple[int, ...] = ()
    cut: int | None = None
    reset: int | None = None
    stall: int | None = None
    extra: int = 0
    rate: float | None = None
    delay: float = 0.0
    raw: bytes | None = None
    body: bytes = b""

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection stays open for another request."""
        return self.framing != "close" and self.cut is None and self.raw is None


@dataclass(frozen=True, slots=True)
class Served:
    """A file of the origin: ``read(start, end)`` returns its bytes."""

    size: int
    etag: str
    last_modified: str
    read: Callable[[int, int], bytes] = field(repr=False)


def reply_to(
    request: ReceivedRequest,
    served: Served | None,
    rules: list[Rule],
    *,
    digest: bool,
    rate: float | None,
    now: float = 0.0,
) -> Reply:
    """The reply of a correct origin at `now` (seconds since 1970), changed by `rules`."""
    for rule in rules:
        if rule.raw is not None:
            return Reply(0, (), raw=rule.raw.encode("latin-1"), delay=rule.delay)
    for rule in rules:
        if rule.authorization and dict(request.fields).get("authorization") != rule.authorization:
            return _bodiless(401, *rule.fields)
        if rule.presigned and not permitted(request.query, now):
            return _bodiless(403)
        if rule.redirect:
            return _bodiless(302, ("Location", rule.redirect))
        if rule.status is not None:
            extra = (("Retry-After", rule.retry_after),) if rule.retry_after else ()
            return _bodiless(rule.status, *extra, *rule.fields)
    if served is None:
        return _bodiless(404)
    merged = _merged(rules)
    full = request.start is None or merged.ignore_range
    start = 0 if full else request.start or 0
    end = served.size if full else min(served.size, request.end if request.end is not None else served.size)
    if not full and start >= served.size:
        return _bodiless(416, ("Content-Range", f"bytes */{served.size}"))
    end -= min(merged.shorten, end - start - 1) if not full else 0
    return _content(served, merged, start, end, full, digest if merged.digest is None else merged.digest, rate, rules)


def _content(
    served: Served, rule: Rule, start: int, end: int, full: bool, digest: bool, rate: float | None, rules: list[Rule]
) -> Reply:
    framing = "chunked" if rule.chunked else "close" if rule.close_delimited else "length"
    fields = [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]
    etag = served.etag if rule.etag is None else rule.etag
    modified = served.last_modified if rule.last_modified is None else rule.last_modified
    fields += [("ETag", etag)] if etag else []
    fields += [("Last-Modified", modified)] if modified else []
    if not full:
        text = "bytes {first}-{last}/{size}" if rule.content_range is None else rule.content_range
        text = text.format(first=start, last=end - 1, size=served.size)
        fields += [("Content-Range", text)] if text else []
    elif rule.content_range:
        fields.append(("Content-Range", rule.content_range.format(first=start, last=end - 1, size=served.size)))
    if framing == "length":
        fields.append(("Content-Length", str(end - start + rule.extra)))
    elif framing == "chunked":
        fields.append(("Transfer-Encoding", "chunked"))
    else:
        fields.append(("Connection", "close"))
    if rule.encoding:
        fields.append(("Content-Encoding", rule.encoding))
    if digest:
        # Of the correct bytes, like an origin behind a cache that corrupts them.
        value = base64.b64encode(hashlib.sha256(served.read(start, end)).digest()).decode()
        fields.append(("Content-Digest", f"sha-256=:{value}:"))
    names = {name.lower() for name, _ in rule.fields}
    fields = [*(field for field in fields if field[0].lower() not in names), *rule.fields]
    return Reply(
        200 if full or rule.status_200 else 206,
        tuple(fields),
        start,
        end,
        framing,
        flips=tuple(r.corrupt for r in rules if r.corrupt is not None and start <= r.corrupt < end),
        cut=rule.cut,
        reset=rule.reset,
        stall=rule.stall,
        extra=rule.extra + rule.surplus,
        rate=rule.rate if rule.rate is not None else rate,
        delay=rule.delay,
    )


def _merged(rules: list[Rule]) -> Rule:
    """All rules as one; of two rules with the same effect, the later one wins."""
    merged, plain = Rule(), Rule()
    for rule in rules:
        changes = {name: getattr(rule, name) for name in rule.__slots__ if getattr(rule, name) != getattr(plain, name)}
        merged = replace(merged, **changes)
    return merged


def _bodiless(status: int, *fields: tuple[str, str]) -> Reply:
    body = f"{status}\n".encode() if status not in (204, 304) else b""
    return Reply(status, (("Content-Length", str(len(body))), *fields), body=body)


def permitted(query: str, now: float) -> bool:
    """Whether the query of a presigned URL permits a request at `now`. The signature is not checked."""
    fields = dict(parse_qsl(query))
    try:
        begin = datetime.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        return begin - 1 <= now < begin + int(fields["X-Amz-Expires"])
    except (KeyError, ValueError):
        return False
