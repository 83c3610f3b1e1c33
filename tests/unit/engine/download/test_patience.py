"""How long a download waits for a server, on a clock of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from origin.rules import Rule
from unit.engine.download.lives import CHUNK, Life, Story


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Story:
    monkeypatch.setattr("modelferry.manifest.chunks.CHUNK_SIZE", CHUNK)
    return Story(tmp_path, monkeypatch)


YEARS = Rule(status=429, retry_after="99999999")


def test_an_absurd_retry_after_among_good_responses_holds_up_one_chunk_for_two_seconds(story: Story) -> None:
    assert story.live(Life(script={2: YEARS})) == "whole"
    assert 2 < story.seconds < 3
    assert story.requests == 6, "the file of one chunk, the four chunks of the other, and one again"


def test_a_server_that_is_always_busy_is_soon_left_alone(story: Story) -> None:
    assert story.live(Life(script=dict.fromkeys(range(1000), YEARS))) == "SourceUnavailable"
    assert story.requests <= 8
    assert 60 < story.seconds < 180


def test_a_server_that_asks_for_time_twice_gets_it(story: Story) -> None:
    busy = Rule(status=503, retry_after="20")
    assert story.live(Life(script={1: busy, 2: busy})) == "whole"
    assert 20 < story.seconds < 25
    assert story.requests == 7
