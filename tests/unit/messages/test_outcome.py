"""An agent's result in 4096 bytes."""

from __future__ import annotations

import pytest

from modelferry.errors import DigestMismatch, DirectoryBusy, ServerBusy
from modelferry.messages import MirrorProgress, Outcome
from modelferry.messages.earlier_revisions import RetainedRevision


def test_an_outcome_survives_its_encoding() -> None:
    retained = (RetainedRevision("2b0c", 8, True),)
    outcome = Outcome(True, revision="8f3c2a1", bytes=10, fetched=9, retries=2, rehashed=1, retained=retained)
    assert Outcome.decode(outcome.encode()) == outcome


@pytest.mark.parametrize(
    ("error", "reason", "kind"),
    [
        (DigestMismatch("a: wrong", file="a"), "DigestMismatch", "stalled"),
        (ServerBusy("a: 503", file="a"), "ServerBusy", "transient"),
        (DirectoryBusy("d: busy"), "DirectoryBusy", "waiting"),
    ],
)
def test_an_error_becomes_its_reason_kind_and_message(error: DigestMismatch, reason: str, kind: str) -> None:
    outcome = Outcome.from_error(error, revision="r")
    assert (outcome.ok, outcome.reason, outcome.kind, outcome.message) == (False, reason, kind, error.message)
    assert outcome.file == (error.file or "")


@pytest.mark.parametrize("letter", ["x", "ü", "猫", "🦀", "\x00", '"', "\\"])
@pytest.mark.parametrize("length", [589, 590, 591, 100_000])
def test_the_encoding_never_exceeds_what_kubernetes_keeps(letter: str, length: int) -> None:
    outcome = Outcome(
        False, "UnknownAuthority", "stalled", letter * length, "ü" * 256, "r" * 63, 2**60, 2**60, 10**9, 10**9, 1e9 / 7
    )
    encoded = outcome.encode()
    assert len(encoded.encode()) <= 4096
    decoded = Outcome.decode(encoded)
    assert decoded is not None
    assert (decoded.ok, decoded.reason, decoded.bytes) == (False, "UnknownAuthority", 2**60)
    assert decoded.message.startswith(letter * 200)


def test_a_truncated_message_ends_with_an_ellipsis() -> None:
    decoded = Outcome.decode(Outcome(False, "X", "stalled", "m" * 1000).encode())
    assert decoded is not None
    assert decoded.message.endswith("…")


@pytest.mark.parametrize(
    "text", ["", "Killed", "[]", "7", "null", "{}", '{"ok": "yes"}', '{"ok": true', '{"reason": "X"}']
)
def test_an_invalid_outcome_is_none(text: str) -> None:
    assert Outcome.decode(text) is None


def test_fields_of_a_later_version_are_skipped() -> None:
    assert Outcome.decode('{"ok": true, "later": 1}') == Outcome(True)


def test_how_mirrors_ended_travels_in_the_termination_message_and_gives_way_to_the_error() -> None:
    mirrors = tuple(MirrorProgress(f"mirror-{n}", "Quarantined", fetched=1 << 40, message="é" * 30) for n in range(16))
    outcome = Outcome(True, mirrors=mirrors[:4])
    assert Outcome.decode(outcome.encode()) == outcome
    long = Outcome(False, "DigestMismatch", "stalled", "ü" * 600, mirrors=mirrors)
    read = Outcome.decode(long.encode())
    assert len(long.encode()) <= 4096
    assert read is not None
    assert (read.reason, read.mirrors) == ("DigestMismatch", ())
