"""Commands, waiting with a timeout, sizes, and the installation of packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import prerequisites
from cluster.node import parse_size
from cluster.shell import ClusterError, run, wait_until


def test_the_error_of_a_failed_command_has_its_output() -> None:
    with pytest.raises(ClusterError, match=r"exit code 3\nno luck"):
        run(["sh", "-c", "echo no luck >&2; exit 3"])


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(ClusterError, match="no-such-program"):
        run(["no-such-program"])


def test_a_timeout_has_the_last_error() -> None:
    def refused() -> bool:
        raise ConnectionRefusedError("refused")

    with pytest.raises(ClusterError, match=r"the server: still waiting after 0\.01 s: refused"):
        wait_until("the server", refused, timeout=0.01)


def test_waiting_ends_when_the_condition_is_true() -> None:
    answers = iter([False, True])
    wait_until("it", lambda: next(answers))
    assert next(answers, None) is None


@pytest.mark.parametrize(("text", "size"), [("512", 512), ("300M", 300 * 2**20), ("3G", 3 * 2**30)])
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "3GB", "-1M", "1.5G", "M"])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match="300M"):
        parse_size(text)


def test_the_error_for_missing_packages_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="apt-get install some-package"):
        prerequisites.ensure({"no-such-program": "some-package", "sh": "dash"})


def test_no_service_starts_while_packages_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(prerequisites, "POLICY", policy)
    with prerequisites._no_service_starts(), pytest.raises(ClusterError, match="exit code 101"):
        run([policy, "containerd", "start"])
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 104\n")
    with prerequisites._no_service_starts():
        assert "104" in policy.read_text()
    assert "104" in policy.read_text()
