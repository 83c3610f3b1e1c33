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


def test_a_first_byte_that_is_late_each_time_is_waited_for(story: Story) -> None:
    """huggingface/huggingface_hub#3594, artifact-keeper#3926: the first byte came after more than the timeout."""
    assert story.live(Life(script=dict.fromkeys(range(100), Rule(delay=12.0)))) == "whole"
    assert story.seconds < 5 + 10 + 12 + 5 * 12
    assert story.requests <= 8, "once it is known how long heads take, no request is given up"


def test_a_server_that_sends_nothing_is_given_up_at_the_progress_deadline(story: Story) -> None:
    assert story.live(Life(script=dict.fromkeys(range(100), Rule(delay=1000.0)))) == "SourceUnavailable"
    assert 60 <= story.seconds < 66


def test_one_connection_that_is_silent_does_not_make_the_download_patient(story: Story) -> None:
    assert story.live(Life(script={2: Rule(delay=1000.0)})) == "whole"
    assert story.seconds < 8
