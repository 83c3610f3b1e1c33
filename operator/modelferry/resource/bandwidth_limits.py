"""What a download may receive at a moment: its own limit, a window's, and its share of the cluster's. Pure.

The operator hands the first two to a running pod as they stand in the spec, so that windows hold without the operator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from modelferry.resource.windows import DAYS, Window, change_after, window_at
from modelferry.values.rates import bit_rate_text

#: The fields of ``spec.transfer`` that take effect while a download runs; the bandwidth of each mirror does too.
LIVE = ("bandwidth", "windows")
MIRROR = "bandwidth"


@dataclass(frozen=True, slots=True)
class InForce:
    """``rate`` in bytes per second: None for no limit, 0 for nothing. ``note``: the same for people, with the reason;
    of a pause, until when and why."""

    rate: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """``bandwidth`` in bytes per second holds where none of ``windows`` does; the first one that does is the one.
    ``mirrors``: what each by its name may bring of it, at most."""

    bandwidth: int | None = None
    windows: tuple[Window, ...] = ()
    mirrors: tuple[tuple[str, int], ...] = ()

    def at(self, now: float, share: int | None = None) -> InForce:
        """What holds at `now` (seconds of the epoch), with a `share` of the cluster's bandwidth, if there is one."""
        own = self._own(datetime.fromtimestamp(now, UTC))
        if share is None or (own.rate is not None and own.rate <= share):
            return own
        if share == 0:
            return InForce(0, "until there is a share of the cluster's bandwidth for it")
        return InForce(share, f"limited to {bit_rate_text(share)}, its share of the cluster's bandwidth")

    def _own(self, now: datetime) -> InForce:
        window = window_at(self.windows, now)
        if window is None:
            return (
                InForce(self.bandwidth, f"limited to {bit_rate_text(self.bandwidth)}")
                if self.bandwidth
                else InForce(None)
            )
        change = change_after(self.windows, now)
        until = f"until {_clock(change, window.zone, now)} " if change else ""
        what = f"limited to {bit_rate_text(window.limit)} " if window.limit else ""
        return InForce(window.limit, f"{what}{until}(window {window})")


def live(spec: Mapping[str, Any]) -> str:
    """The live fields of a ``spec`` as they are written there, as JSON for a pod's annotation."""
    transfer = spec.get("transfer") or {}
    found = {key: transfer[key] for key in LIVE if key in transfer}
    mirrors = {mirror["name"]: mirror[MIRROR] for mirror in spec.get("mirrors") or [] if MIRROR in mirror}
    return json.dumps(found | ({"mirrors": mirrors} if mirrors else {}), sort_keys=True, separators=(",", ":"))


def settled(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A ``spec`` without its live fields: where it changes, downloads begin anew."""
    found = dict(spec)
    if "transfer" in spec:
        found["transfer"] = {key: value for key, value in spec["transfer"].items() if key not in LIVE}
    if "mirrors" in spec:
        found["mirrors"] = [{key: value for key, value in one.items() if key != MIRROR} for one in spec["mirrors"]]
    return found


def _clock(moment: datetime, zone: str, now: datetime) -> str:
    local, today = moment.astimezone(ZoneInfo(zone)), now.astimezone(ZoneInfo(zone)).date()
    return f"{local:%H:%M}" if local.date() == today else f"{DAYS[local.weekday()]} {local:%H:%M}"
