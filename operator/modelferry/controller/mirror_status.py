"""What the nodes see of the mirrors, as one list in the status, and the Events between two such lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from modelferry.controller.actions import EventRecord
from modelferry.controller.facts import Object
from modelferry.controller.states import NodeState
from modelferry.manifest.entries import SOURCE
from modelferry.messages import MirrorProgress
from modelferry.messages.progress import DOWN, MIRROR_STATES, QUARANTINED, RECOVERING, UP
from modelferry.resource.mirror import Mirror


def listed(before: Iterable[Object], mirrors: Sequence[Mirror], states: Iterable[NodeState]) -> list[Object]:
    """``status.mirrors``: for each of `mirrors` the worst that a node sees; what no node speaks of stays as it was, and
    so does what downloads that have just begun have not tried."""
    was = {entry["name"]: entry for entry in before}
    seen: dict[str, list[MirrorProgress]] = {}
    for view in (view for state in states for view in state.mirrors):
        seen.setdefault(view.name, []).append(view)
    found = []
    for mirror in sorted(mirrors, key=lambda one: one.priority):
        views = seen.get(mirror.name, [])
        if views and (mirror.name not in was or not all(view.untried for view in views)):
            found.append(_entry(mirror.name, views))
        elif mirror.name in was:
            found.append({key: value for key, value in was[mirror.name].items() if key != "perSecond"})
    return _counted(was.get(SOURCE, {}), found)


def _counted(before: Object, entries: list[Object]) -> list[Object]:
    """`entries`, where the source's count of falls stays at least as it was `before` while a fall lasts: each attempt
    counts from 0, and comes to the source again since the same mirrors are still down."""
    preferred = list(takewhile(lambda entry: entry["name"] != SOURCE, entries))
    if not preferred or any(entry["state"] == UP for entry in preferred):
        return entries
    least = before.get("fallbacks", 0)
    return [
        entry | {"fallbacks": least} if entry["name"] == SOURCE and entry.get("fallbacks", 0) < least else entry
        for entry in entries
    ]


def _entry(name: str, views: Sequence[MirrorProgress]) -> Object:
    state = max((view.state for view in views), key=_rank)
    told = next((view.message for view in views if view.state == state and view.message), "")
    body: Object = {"name": name, "state": state, "nodes": sum(view.state == state for view in views)}
    amounts = {
        "perSecond": int(sum(view.speed for view in views)),
        "bytes": sum(view.fetched for view in views),
        "retries": sum(view.retries for view in views),
        "fallbacks": sum(view.fallbacks for view in views),
    }
    body |= {key: value for key, value in amounts.items() if value}
    return body | ({"message": told} if told and state != UP else {})


def _rank(state: str) -> int:
    return MIRROR_STATES.index(state) if state in MIRROR_STATES else 0


def notices(before: Iterable[Object], after: Iterable[Object]) -> list[EventRecord]:
    """The Events between two lists: a mirror that went down, came back or lied, and work that came to the source."""
    was = {entry["name"]: entry for entry in before}
    found = []
    for entry in after:
        name, state, old = entry["name"], entry["state"], was.get(entry["name"], {})
        message = entry.get("message", "")
        before_it = old.get("state", UP)
        if state == before_it:
            pass
        elif state == QUARANTINED:
            way_out = "mend it and give it another name, or take it off spec.mirrors"
            told = f"mirror {name} {message}; it is asked for nothing more; {way_out}"
            found.append(EventRecord("MirrorQuarantined", told, warning=True))
        elif state == DOWN and before_it != RECOVERING:
            others = "others are asked" if name != SOURCE else "mirrors are asked"
            told = f"mirror {name} is down: {message}; {others}, and it is probed until it is back"
            found.append(EventRecord("MirrorDown", told, warning=True))
        elif state == UP and before_it in (DOWN, RECOVERING):
            found.append(EventRecord("MirrorRecovered", f"mirror {name} is back, and used again"))
        if name == SOURCE and entry.get("fallbacks", 0) > old.get("fallbacks", 0):
            told = "every mirror that is preferred to the source is down; the source itself is asked"
            found.append(EventRecord("FellBackToSource", told, warning=True))
    return found


def verdicts(entries: Iterable[Object]) -> list[tuple[str, str, int]]:
    """What of a list is no mere amount."""
    return [(entry["name"], entry["state"], entry.get("fallbacks", 0)) for entry in entries]
