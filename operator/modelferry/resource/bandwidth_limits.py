"""The bandwidth limit of a download at a given time: its own limit, a window's, and its share of the cluster's. Pure.

The operator passes the first two to a running pod as they are in the spec, so that windows work without the operator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from modelferry.resource.windows import DAYS, Window, next_change, window_at
from modelferry.values.rates import bit_rate_text

#: The fields of ``spec.transfer`` and of each mirror that take effect while a download runs.
LIVE_FIELDS = ("bandwidth", "windows")
LIVE_MIRROR_FIELD = "bandwidth"


@dataclass(frozen=True, slots=True)
class EffectiveLimit:
    """``rate`` in bytes per second: None means no limit, 0 a pause. ``note``: a text for people, with the
    reason and the end of a pause."""

    rate: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """``bandwidth`` in bytes per second applies outside of ``windows``; of several windows, the first applies.
    ``mirrors``: the limit of each mirror by its name."""

    bandwidth: int | None = None
    windows: tuple[Window, ...] = ()
    mirrors: tuple[tuple[str, int], ...] = ()

    def at(self, now: float, share: int | None = None) -> EffectiveLimit:
        """The limit at `now` (seconds since the epoch), with a `share` of the cluster's bandwidth, if there is one."""
        own = self._own(datetime.fromtimestamp(now, UTC))
        if share is None or (own.rate is not None and own.rate <= share):
            return own
        if share == 0:
            return EffectiveLimit(0, "until there is a share of the cluster's bandwidth for it")
        return EffectiveLimit(share, f"limited to {bit_rate_text(share)}, its share of the cluster's bandwidth")

    def _own(self, now: datetime) -> EffectiveLimit:
        window = window_at(self.windows, now)
        if window is None:
            return (
                EffectiveLimit(self.bandwidth, f"limited to {bit_rate_text(self.bandwidth)}")
                if self.bandwidth
                else EffectiveLimit(None)
            )
        change = next_change(self.windows, now)
        until = f"until {_clock(change, window.zone, now)} " if change else ""
        what = f"limited to {bit_rate_text(window.limit)} " if window.limit else ""
        return EffectiveLimit(window.limit, f"{what}{until}(window {window})")


def encode_live_fields(spec: Mapping[str, Any]) -> str:
    """The live fields of a ``spec``, unchanged, as JSON for a pod's annotation."""
    transfer = spec.get("transfer") or {}
    found = {key: transfer[key] for key in LIVE_FIELDS if key in transfer}
    mirrors = {
        mirror["name"]: mirror[LIVE_MIRROR_FIELD] for mirror in spec.get("mirrors") or [] if LIVE_MIRROR_FIELD in mirror
    }
    return json.dumps(found | ({"mirrors": mirrors} if mirrors else {}), sort_keys=True, separators=(",", ":"))


def without_live_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A ``spec`` without its live fields, and without ``nodes.minReady``, which only the status depends on.
    Downloads restart if it changes."""
    found = dict(spec)
    if nodes := {key: value for key, value in (found.pop("nodes", None) or {}).items() if key != "minReady"}:
        found["nodes"] = nodes
    if "transfer" in spec:
        found["transfer"] = {key: value for key, value in spec["transfer"].items() if key not in LIVE_FIELDS}
    if "mirrors" in spec:
        found["mirrors"] = [
            {key: value for key, value in one.items() if key != LIVE_MIRROR_FIELD} for one in spec["mirrors"]
        ]
    return found


def _clock(moment: datetime, zone: str, now: datetime) -> str:
    local, today = moment.astimezone(ZoneInfo(zone)), now.astimezone(ZoneInfo(zone)).date()
    return f"{local:%H:%M}" if local.date() == today else f"{DAYS[local.weekday()]} {local:%H:%M}"
