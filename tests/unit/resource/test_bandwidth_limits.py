"""What holds when: windows on the clocks of a place, over both changes of them, and shares."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time

import pytest

from modelferry.errors import InvalidSpec
from modelferry.resource.bandwidth_limits import EffectiveLimit, Limits, encode_live_fields, without_live_fields
from modelferry.resource.parse.bandwidth_fields import read_limits
from modelferry.resource.windows import Window, next_change, window_at

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
WORK = ("Mon", "Tue", "Wed", "Thu", "Fri")
DAY = Window(time(8), time(18), 0, WORK, BERLIN)
NIGHT = Window(time(22), time(6), 1000, ("Fri",))


def at(text: str) -> float:
    """Seconds of the epoch of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def holds(window: Window, text: str) -> bool:
    return window.covers(datetime.fromisoformat(text).replace(tzinfo=UTC))


def test_a_window_holds_on_its_days_and_hours_on_the_clocks_of_its_zone() -> None:
    # 2026-07-06 is a Monday; Berlin is two hours ahead of UTC in summer, one in winter.
    assert [holds(DAY, f"2026-07-06T{hour}") for hour in ("05:59", "06:00", "15:59", "16:00")] == [
        False,
        True,
        True,
        False,
    ]
    assert [holds(DAY, f"2026-01-05T{hour}") for hour in ("06:59", "07:00", "16:59", "17:00")] == [
        False,
        True,
        True,
        False,
    ]
    assert not holds(DAY, "2026-07-05T10:00")


def test_a_window_past_midnight_is_of_the_day_on_which_it_begins() -> None:
    # 2026-07-10 is a Friday.
    times = ("10T21:59", "10T22:00", "11T05:59", "11T06:00", "11T22:00", "10T03:00")
    assert [holds(NIGHT, f"2026-07-{text}") for text in times] == [False, True, True, False, False, False]


def test_the_same_time_twice_is_a_whole_day() -> None:
    all_day = Window(time(0), time(0), 0)
    assert all(holds(all_day, f"2026-07-06T{hour:02d}:30") for hour in range(24))


def test_a_time_that_the_clocks_skip_is_read_by_the_offset_before() -> None:
    # New York goes from 02:00 EST to 03:00 EDT on 2026-03-08, at 07:00 UTC: 02:30 is 07:30 UTC.
    skipped = Window(time(2, 30), time(6), 0, zone=NEW_YORK)
    assert [holds(skipped, f"2026-03-08T{text}") for text in ("07:29", "07:30", "09:59", "10:00")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_time_that_the_clocks_show_twice_is_the_first_one() -> None:
    # New York goes from 02:00 EDT to 01:00 EST on 2026-11-01, at 06:00 UTC: the first 01:30 is 05:30 UTC.
    twice = Window(time(1, 30), time(3), 0, zone=NEW_YORK)
    times = ("05:29", "05:30", "06:15", "07:59", "08:00")
    assert [holds(twice, f"2026-11-01T{text}") for text in times] == [False, True, True, True, False]


def test_a_window_over_a_change_is_an_hour_shorter_or_longer() -> None:
    night = Window(time(22), time(6), 0, zone=BERLIN)
    lengths = [
        round((end - begin).total_seconds() / 3600)
        for day in ("2026-03-28", "2026-10-24", "2026-07-01")
        for begin, end in [night.occurrences(datetime.fromisoformat(f"{day}T12:00+00:00"), 0)[1]]
    ]
    assert lengths == [7, 9, 8]


def test_the_first_window_in_the_list_holds() -> None:
    noon = Window(time(12), time(13), 5000, WORK, BERLIN)
    moment = datetime.fromisoformat("2026-07-06T10:30:00+00:00")
    assert window_at((noon, DAY), moment) is noon
    assert window_at((DAY, noon), moment) is DAY
    assert next_change((noon, DAY), moment) == datetime.fromisoformat("2026-07-06T11:00:00+00:00")
    assert next_change((DAY, noon), moment) == datetime.fromisoformat("2026-07-06T16:00:00+00:00")


def test_windows_that_never_change_have_no_end() -> None:
    always = Limits(windows=(Window(time(0), time(0), 0),))
    assert always.at(at("2026-07-06T10:00")) == EffectiveLimit(0, "(window daily 00:00-00:00 UTC)")


def test_a_pause_says_until_when_and_why() -> None:
    limit = Limits(1000, (DAY,)).at(at("2026-07-06T10:00"))
    assert limit == EffectiveLimit(0, "until 18:00 (window Mon-Fri 08:00-18:00 Europe/Berlin)")


def test_an_end_on_another_day_names_it() -> None:
    limit = Limits(None, (NIGHT,)).at(at("2026-07-10T23:00"))
    assert limit == EffectiveLimit(1000, "limited to 8 kbit/s until Sat 06:00 (window Fri 22:00-06:00 UTC)")


def test_outside_of_all_windows_the_bandwidth_holds() -> None:
    assert Limits(5_000_000, (DAY,)).at(at("2026-07-05T10:00")) == EffectiveLimit(5_000_000, "limited to 40 Mbit/s")
    assert Limits().at(0.0) == EffectiveLimit(None)


def test_a_share_holds_where_it_is_less_than_the_own_limit() -> None:
    limits = Limits(5_000_000)
    assert limits.at(0.0, 6_000_000).rate == 5_000_000
    assert limits.at(0.0, 1_000_000) == EffectiveLimit(
        1_000_000, "limited to 8 Mbit/s, its share of the cluster's bandwidth"
    )
    assert limits.at(0.0, 0) == EffectiveLimit(0, "until there is a share of the cluster's bandwidth for it")
    assert Limits().at(0.0, 7).rate == 7


def test_what_the_operator_writes_is_what_the_pod_reads() -> None:
    windows = [{"days": ["Sat"], "from": "08:00", "to": "18:00", "timeZone": BERLIN, "bandwidth": "1MB"}]
    transfer = {"connections": 4, "bandwidth": "40Mbit", "windows": windows}
    found = read_limits(encode_live_fields({"transfer": transfer}))
    assert found == Limits(5_000_000, (Window(time(8), time(18), 1_000_000, ("Sat",), BERLIN),))
    assert read_limits("") == Limits()


def test_each_mirrors_limit_is_read_as_well() -> None:
    mirrors = [{"name": "lab", "url": "u", "bandwidth": "8Mbit"}, {"name": "far", "url": "v"}]
    written = encode_live_fields({"transfer": {"bandwidth": "40Mbit"}, "mirrors": mirrors})
    assert written == '{"bandwidth":"40Mbit","mirrors":{"lab":"8Mbit"}}'
    assert read_limits(written) == Limits(5_000_000, mirrors=(("lab", 1_000_000),))


def test_what_is_no_limit_is_refused() -> None:
    for text in ("{", json.dumps({"bandwidth": "40"}), json.dumps({"speed": "1MB"}), '{"mirrors":{"lab":"fast"}}'):
        with pytest.raises(InvalidSpec, match="limits"):
            read_limits(text)


def test_the_live_fields_are_no_part_of_the_settled_spec() -> None:
    spec = {"source": {}, "transfer": {"connections": 4, "bandwidth": "1MB", "windows": []}}
    assert without_live_fields(spec) == {"source": {}, "transfer": {"connections": 4}}
    assert without_live_fields({"source": {}}) == {"source": {}}
    assert without_live_fields({"source": {}, "nodes": {"minReady": 1}}) == {"source": {}}
    mirrors = [{"name": "lab", "url": "u", "bandwidth": "1MB"}, {"name": "far", "url": "v"}]
    assert without_live_fields({"mirrors": mirrors}) == {
        "mirrors": [{"name": "lab", "url": "u"}, {"name": "far", "url": "v"}]
    }


def test_a_zone_that_is_not_in_the_database_is_named() -> None:
    window = {"from": "08:00", "to": "18:00", "timeZone": "Europe/Atlantis", "pause": True}
    with pytest.raises(InvalidSpec, match="such as Europe/Berlin; not 'Europe/Atlantis'"):
        read_limits(json.dumps({"windows": [window]}))
