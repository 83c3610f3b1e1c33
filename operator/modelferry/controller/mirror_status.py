"""What the downloads report of the mirrors, as the one list ``status.mirrors``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from modelferry.controller.facts import Object
from modelferry.controller.step_result import CopyState
from modelferry.manifest.entries import SOURCE
from modelferry.messages import MirrorProgress
from modelferry.messages.progress import MIRROR_STATES, UP
from modelferry.resource.mirror import Mirror


def merge(before: Iterable[Object], mirrors: Sequence[Mirror], copies: Iterable[CopyState]) -> list[Object]:
    """``status.mirrors``: for each of `mirrors` the worst state that a node sees.

    The entry in `before` stays if no download reports the mirror, or if those that do have only started and not
    tried it: their pods' predecessors are gone, and with them what they reported (a quarantine, say).
    """
    previous = {entry["name"]: entry for entry in before}
    reported: dict[str, list[MirrorProgress]] = {}
    for view in (view for copy in copies for view in copy.mirrors):
        reported.setdefault(view.name, []).append(view)
    entries = []
    for mirror in sorted(mirrors, key=lambda one: one.priority):
        views = reported.get(mirror.name, [])
        if views and (mirror.name not in previous or not all(view.untried for view in views)):
            entries.append(_entry(mirror.name, views))
        elif mirror.name in previous:
            entries.append({key: value for key, value in previous[mirror.name].items() if key != "perSecond"})
    return _keep_fallbacks(previous.get(SOURCE, {}), entries)


def states(entries: Iterable[Object]) -> list[tuple[str, str, int]]:
    """What of a list is not an amount."""
    return [(entry["name"], entry["state"], entry.get("fallbacks", 0)) for entry in entries]


def _keep_fallbacks(before: Object, entries: list[Object]) -> list[Object]:
    """`entries`, where the source's fallback count does not decrease while a fallback lasts: each attempt counts from
    0, and falls back to the source again because the same mirrors are still down."""
    preferred = list(takewhile(lambda entry: entry["name"] != SOURCE, entries))
    if not preferred or any(entry["state"] == UP for entry in preferred):
        return entries
    least = before.get("fallbacks", 0)
    return [
        entry | {"fallbacks": least} if entry["name"] == SOURCE and entry.get("fallbacks", 0) < least else entry
        for entry in entries
    ]


def _entry(name: str, views: Sequence[MirrorProgress]) -> Object:
    state = max((view.state for view in views), key=_severity)
    message = next((view.message for view in views if view.state == state and view.message), "")
    body: Object = {"name": name, "state": state, "nodes": sum(view.state == state for view in views)}
    amounts = {
        "perSecond": int(sum(view.speed for view in views)),
        "bytes": sum(view.fetched for view in views),
        "retries": sum(view.retries for view in views),
        "fallbacks": sum(view.fallbacks for view in views),
    }
    body |= {key: value for key, value in amounts.items() if value}
    return body | ({"message": message} if message and state != UP else {})


def _severity(state: str) -> int:
    return MIRROR_STATES.index(state) if state in MIRROR_STATES else 0
