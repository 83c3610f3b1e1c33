"""The registry of clusters and their owners."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from cluster import network, registry
from cluster.shell import ClusterError

TESTS = Path(__file__).parent.parent
OWNER = """
import pathlib, sys
from cluster import network, registry
registry.DIRECTORY = pathlib.Path(sys.argv[1])
network.routed = lambda: []
with registry.locked():
    entry, lock = registry.register("other")
print(entry.subnet.network, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "DIRECTORY", tmp_path / "registry")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(network, "routed", lambda: [IPv4Network("10.64.0.0/16")])


def test_an_entry_is_owned_until_its_lock_is_released() -> None:
    with registry.locked():
        entry, lock = registry.register("mine")
    with lock:
        assert registry.find("mine") == entry
        assert entry.owned()
    assert not entry.owned()


def test_a_killed_owner_owns_nothing() -> None:
    argv = [sys.executable, "-c", OWNER, str(registry.DIRECTORY)]
    with subprocess.Popen(argv, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline()
        entry = registry.find("other")
        assert entry.owned()
        assert entry.owner == owner.pid
        owner.kill()
    assert not entry.owned()


def test_two_clusters_have_different_names_and_subnets() -> None:
    with registry.locked():
        first, first_lock = registry.register(None)
        second, second_lock = registry.register(None)
    with first_lock, second_lock:
        assert first.name != second.name
        subnets = {str(first.subnet.network), str(second.subnet.network)}
        assert subnets == {"10.65.0.0/16", "10.66.0.0/16"}  # 10.64 is used by the machine


def test_a_name_is_used_once() -> None:
    with registry.locked():
        entry, lock = registry.register("mine")
        with lock, pytest.raises(ClusterError, match="down --name mine"):
            registry.register("mine")
        entry.deregister()
        registry.register("mine")[1].close()


@pytest.mark.parametrize("name", ["", "Upper", "a" * 12, "-a", "a-", "a.b", "../a"])
def test_an_invalid_name_is_refused(name: str) -> None:
    with registry.locked(), pytest.raises(ClusterError):
        registry.register(name or "-")


def test_the_kept_flag_is_stored() -> None:
    with registry.locked():
        entry, lock = registry.register("mine")
    lock.close()
    replace(entry, kept=True).write()
    assert registry.find("mine").kept


def test_an_incomplete_entry_is_ignored() -> None:
    with registry.locked():
        (registry.DIRECTORY / "half").mkdir()
        assert registry.entries() == []
        registry.register("half")[1].close()
    assert registry.find("half").name == "half"
