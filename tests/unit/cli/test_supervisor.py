"""How often a killed agent is restarted."""

from __future__ import annotations

from modelferry.cli.supervisor import MAX_RESTARTS, RestartBudget


def test_kills_without_progress_add_up() -> None:
    budget = RestartBudget()
    for _ in range(MAX_RESTARTS + 1):
        budget = budget.after_kill(100)
    assert budget.kills == MAX_RESTARTS + 1


def test_a_kill_after_progress_begins_a_new_count() -> None:
    budget = RestartBudget()
    for done in range(100):
        budget = budget.after_kill(done)
        assert budget.kills == 1
    assert budget.after_kill(50).kills == 2
