"""``spec.transfer.bandwidth`` and ``windows``. A download pod's annotation has the same fields, and the bandwidth of
each mirror."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from modelferry.errors import InvalidSpec
from modelferry.resource.bandwidth_limits import Limits
from modelferry.resource.spec_fields import FieldErrors, Fields
from modelferry.resource.windows import DAYS, MAX_WINDOWS, Window
from modelferry.values.rates import parse_rate

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")


def read_limits(text: str) -> Limits:
    """The limits that `bandwidth_limits.encode_live_fields` wrote; an empty text is no limit. Raises InvalidSpec."""
    errors = FieldErrors()
    try:
        fields = Fields(json.loads(text or "{}"), "", errors)
    except ValueError as error:
        raise InvalidSpec(f"limits: not JSON: {error}") from error
    found, mirrors = parse_limits(fields), fields.map("mirrors")
    rates = {name: parse_rate_field(mirrors, name) for name in mirrors.remaining_keys}
    fields.reject_unknown()
    if errors.messages:
        raise InvalidSpec("limits: " + "; ".join(errors.messages))
    return replace(found, mirrors=tuple((name, limit) for name, limit in rates.items() if limit is not None))


def parse_limits(fields: Fields) -> Limits:
    """The limits of ``spec.transfer``."""
    bandwidth = parse_rate_field(fields, "bandwidth")
    windows = [_window(Fields(item, path, fields.errors)) for path, item in fields.items("windows", MAX_WINDOWS)]
    return Limits(bandwidth, tuple(window for window in windows if window is not None))


def parse_rate_field(fields: Fields, key: str) -> int | None:
    """The rate at `key` in bytes per second; None if it is missing."""
    value = fields.take(key)
    if value is None:
        return None
    try:
        return parse_rate(value if isinstance(value, str) else str(value))
    except ValueError as error:
        fields.add_error(key, str(error))
        return None


def _window(fields: Fields) -> Window | None:
    begin, end = _time(fields, "from"), _time(fields, "to")
    days = _days(fields)
    zone = fields.text("timeZone", "UTC")
    if not _is_time_zone(zone):
        fields.add_error(
            "timeZone", f"must be a name of the IANA time zone database, such as Europe/Berlin; not {zone!r}"
        )
        zone = "UTC"
    pause, has_rate = fields.flag("pause", False), fields.has("bandwidth")
    if pause == has_rate:
        fields.errors.add(fields.path, "give bandwidth or pause: true, not both and not none")
    limit = parse_rate_field(fields, "bandwidth")
    fields.reject_unknown()
    return None if begin is None or end is None or not days else Window(begin, end, limit or 0, days, zone)


def _time(fields: Fields, key: str) -> time | None:
    value = fields.take(key)
    if isinstance(value, str) and _TIME.fullmatch(value):
        return time.fromisoformat(value)
    # YAML 1.1 reads 18:00 without quotes as a base 60 number.
    fields.add_error(key, 'is required: a time of day in quotes, such as "18:00"' if value is None else
                 f'must be a time of day in quotes, "00:00" to "23:59", not {value!r}')  # fmt: skip
    return None


def _days(fields: Fields) -> tuple[str, ...]:
    if not fields.has("days"):
        return DAYS
    found = [day for _, day in fields.items("days", len(DAYS))]
    if not found or any(day not in DAYS for day in found) or len(set(found)) < len(found):
        fields.add_error("days", f"must be some of {', '.join(DAYS)}, each once; leave it out for every day")
        return ()
    return tuple(found)


def _is_time_zone(zone: str) -> bool:
    try:
        return bool(_ZONE.fullmatch(zone)) and bool(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
