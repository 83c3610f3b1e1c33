"""What Prometheus is told, and that docs/metrics.md says the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from metrics_page import DOWNLOAD, OPERATOR, check, documented, exported
from modelferry.agent import download_metrics as download
from modelferry.controller import operator_metrics as operator
from modelferry.controller.facts import Object
from modelferry.messages import MirrorProgress, Progress
from modelferry.messages.exposition import Family, Sample, exposition

MIRRORS = (
    MirrorProgress("lab", "Down", speed=0, fetched=70, chunks=4, retries=3, message="was reset"),
    MirrorProgress("source", speed=1e6, fetched=30, chunks=2, fallbacks=1),
)
PROGRESS = Progress("fetching", "r1", 160, 96, speed=1e6, retries=3, fetched=100, chunks=6, mirrors=MIRRORS)


def stalled_and_ready() -> operator.Metrics:
    """What an operator counts that looked at two artifacts, once in vain."""
    found = operator.Metrics()
    lab: Object = {"name": "lab", "state": "Quarantined"}
    amounts = {"total": 100, "verified": 60, "perSecond": 7}
    for name, condition in (("a", "Stalled"), ("b", "Ready")):
        status = {"conditions": [{"type": condition, "status": "True"}], "bytes": amounts, "mirrors": [lab]}
        found.update(("speech", name), status | {"nodes": {"total": 2, "ready": 1}})
    found.reconciled(0.07, ok=True)
    found.reconciled(30.0, ok=False)
    found.source_fallbacks(1)
    return found


TEXTS = {"download": download.render_metrics(PROGRESS), "operator": stalled_and_ready().text()}


@pytest.mark.parametrize(("heading", "families"), [(DOWNLOAD, download.FAMILIES), (OPERATOR, operator.FAMILIES)])
def test_the_page_lists_what_is_exported(heading: str, families: Sequence[Family]) -> None:
    assert documented(heading) == [(one.name, one.kind, one.labels, one.help) for one in families]


@pytest.mark.parametrize(("who", "families"), [("download", download.FAMILIES), ("operator", operator.FAMILIES)])
def test_every_family_is_exported(who: str, families: Sequence[Family]) -> None:
    assert exported(TEXTS[who]) == [(one.name, one.kind) for one in families]


@pytest.mark.parametrize("who", TEXTS)
def test_promtool_finds_nothing_to_say(who: str) -> None:
    check(TEXTS[who])


def test_a_download_tells_its_mirrors_apart() -> None:
    lines = TEXTS["download"].splitlines()
    assert 'modelferry_mirror_state{mirror="lab",state="Down"} 1' in lines
    assert 'modelferry_mirror_state{mirror="lab",state="Up"} 0' in lines
    assert 'modelferry_mirror_fallbacks_total{mirror="source"} 1' in lines
    assert "modelferry_fetched_bytes_total 100" in lines


def test_the_operator_sums_up() -> None:
    lines = TEXTS["operator"].splitlines()
    for line in (
        'modelferry_artifacts{state="Stalled"} 1',
        'modelferry_artifacts{state="Reconciling"} 0',
        "modelferry_copies 4",
        "modelferry_ready_copies 2",
        "modelferry_verified_bytes 120",
        'modelferry_mirrors{state="Quarantined"} 2',
        "modelferry_source_fallbacks_total 1",
        'modelferry_reconciles_total{result="error"} 1',
        'modelferry_reconcile_duration_seconds_bucket{le="0.1"} 1',
        'modelferry_reconcile_duration_seconds_bucket{le="+Inf"} 2',
        "modelferry_reconcile_duration_seconds_sum 30.07",
    ):
        assert line in lines


def test_an_artifact_that_is_gone_counts_no_more() -> None:
    found = stalled_and_ready()
    found.forget(("speech", "a"))
    assert 'modelferry_artifacts{state="Stalled"} 0' in found.text()


def test_labels_are_escaped() -> None:
    family = Family("m", "gauge", "Help.", ("a",))
    assert exposition([family], [Sample(family, 0.5, ('x"y\\z\n',))]).splitlines()[-1] == r'm{a="x\"y\\z\n"} 0.5'
