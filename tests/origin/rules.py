"""What a hostile origin does to which request: rules as data, and the reply that they make. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: ``start`` and ``end`` (exclusive) of its range, None where it has none."""

    path: str
    start: int | None = None
    end: int | None = None
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Whom a rule meets, and what it does to them.

    It meets requests for paths like ``path`` (a glob) whose range covers byte ``covers`` (any, where None), with a
    range or without (``ranged``), from the ``first`` such request on (from 1), ``times`` times (for ever, where
    None); and of this ``method`` alone, where one is given.

    What it does, all that are set at once:

    - ``corrupt``: flips the byte at this offset of the file, where the reply holds it.
    - ``ignore_range``: sends the whole file with 200.
    - ``says_200``: answers a range with status 200, and else as it should be.
    - ``content_range``: sends this Content-Range instead ("" for none at all); ``{first}``, ``{last}`` and ``{size}``
      stand for those of the honest answer.
    - ``shorten``: answers a range that is this many bytes shorter.
    - ``cut``: closes after this many bytes of content; ``reset``: the same with a RST; ``stall``: then sends nothing
      more.
    - ``extra``: sends this many bytes more, and a Content-Length to match; ``surplus``: the same without telling.
    - ``etag``, ``last_modified``: sends these instead ("" for none); ``{date}`` stands for the answer's Date.
    - ``encoding``: says that it has this Content-Encoding.
    - ``status``: answers so, with ``retry_after`` if that is set; ``redirect``: 302 to there.
    - ``rate``: bytes per second of this reply. ``chunked``, ``close_delimited``: frames the content so.
    - ``digest``: sends a Content-Digest over the true bytes (or does not). ``fields``: sends these instead of its own
      of the same names, or beside its own.
    - ``authorization``: answers 401, with ``fields``, to whoever does not show this one.
    - ``raw``: sends these bytes (latin-1) and closes. ``delay``: seconds before the head.
    """

    path: str = "*"
    method: str = ""
    covers: int | None = None
    ranged: bool | None = None
    first: int = 1
    times: int | None = None
    corrupt: int | None = None
    ignore_range: bool = False
    says_200: bool = False
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

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Rule:
        """From JSON; raises TypeError for what no rule has."""
        fields = tuple((name, value) for name, value in body.get("fields", ()))
        return cls(**{**body, "fields": fields})

    def meets(self, asked: Asked) -> bool:
        """Is this request one of those?"""
        if not fnmatchcase(asked.path.lstrip("/"), self.path.lstrip("/")):
            return False
        if self.method and self.method != asked.method:
            return False
        if self.ranged is not None and self.ranged != (asked.start is not None):
            return False
        if self.covers is None:
            return True
        return (asked.start or 0) <= self.covers and (asked.end is None or self.covers < asked.end)


def read_rules(text: str) -> list[Rule]:
    """A JSON list of rules."""
    return [Rule.of(body) for body in json.loads(text)]


class Script:
    """Rules with their counts: which of them apply to the request that comes now."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = [(rule, [0]) for rule in rules]

    def add(self, rule: Rule) -> None:
        """One more rule."""
        self._rules.append((rule, [0]))

    def clear(self) -> None:
        """Behave, from now on."""
        self._rules.clear()

    def apply(self, asked: Asked) -> list[Rule]:
        """The rules for `asked`, which counts as one more request."""
        chosen = []
        for rule, count in self._rules:
            if rule.meets(asked):
                count[0] += 1
                if count[0] >= rule.first and (rule.times is None or count[0] < rule.first + rule.times):
                    chosen.append(rule)
        return chosen


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it will be sent: ``start`` to ``end`` are the file's bytes in it."""

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
        """May the connection carry another request?"""
        return self.framing != "close" and self.cut is None and self.raw is None


@dataclass(frozen=True, slots=True)
class Served:
    """A file as the origin has it: ``read(start, end)`` gives its bytes."""

    size: int
    etag: str
    last_modified: str
    read: Callable[[int, int], bytes] = field(repr=False)


def reply_to(asked: Asked, served: Served | None, rules: list[Rule], *, digest: bool, rate: float | None) -> Reply:
    """What an honest origin answers, changed by `rules`."""
    for rule in rules:
        if rule.raw is not None:
            return Reply(0, (), raw=rule.raw.encode("latin-1"), delay=rule.delay)
    for rule in rules:
        if rule.authorization and dict(asked.fields).get("authorization") != rule.authorization:
            return _bodiless(401, *rule.fields)
        if rule.redirect:
            return _bodiless(302, ("Location", rule.redirect))
        if rule.status is not None:
            extra = (("Retry-After", rule.retry_after),) if rule.retry_after else ()
            return _bodiless(rule.status, *extra, *rule.fields)
    if served is None:
        return _bodiless(404)
    merged = _merged(rules)
    whole = asked.start is None or merged.ignore_range
    start = 0 if whole else asked.start or 0
    end = served.size if whole else min(served.size, asked.end if asked.end is not None else served.size)
    if not whole and start >= served.size:
        return _bodiless(416, ("Content-Range", f"bytes */{served.size}"))
    end -= min(merged.shorten, end - start - 1) if not whole else 0
    return _content(served, merged, start, end, whole, digest if merged.digest is None else merged.digest, rate, rules)


def _content(
    served: Served, rule: Rule, start: int, end: int, whole: bool, digest: bool, rate: float | None, rules: list[Rule]
) -> Reply:
    framing = "chunked" if rule.chunked else "close" if rule.close_delimited else "length"
    fields = [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]
    etag = served.etag if rule.etag is None else rule.etag
    modified = served.last_modified if rule.last_modified is None else rule.last_modified
    fields += [("ETag", etag)] if etag else []
    fields += [("Last-Modified", modified)] if modified else []
    if not whole:
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
        # Of the true bytes: an honest origin behind a cache that spoils them.
        value = base64.b64encode(hashlib.sha256(served.read(start, end)).digest()).decode()
        fields.append(("Content-Digest", f"sha-256=:{value}:"))
    names = {name.lower() for name, _ in rule.fields}
    fields = [*(field for field in fields if field[0].lower() not in names), *rule.fields]
    return Reply(
        200 if whole or rule.says_200 else 206,
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
    """All rules as one; a later one wins where two set the same."""
    merged, plain = Rule(), Rule()
    for rule in rules:
        changes = {name: getattr(rule, name) for name in rule.__slots__ if getattr(rule, name) != getattr(plain, name)}
        merged = replace(merged, **changes)
    return merged


def _bodiless(status: int, *fields: tuple[str, str]) -> Reply:
    body = f"{status}\n".encode() if status not in (204, 304) else b""
    return Reply(status, (("Content-Length", str(len(body))), *fields), body=body)
