"""Which revision a running pod reads, and that it stays on the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from modelferry.checkpoint.current_history import (
    Period,
    forget_revisions,
    mounted_revisions,
    previous_revision,
    read_history,
    switch_current,
)
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.messages.earlier_revisions import MountWindow, RetainedRevision, decode_windows, encode_windows
from modelferry.storage import layout
from modelferry.storage.tree import Tree
from unit.checkpoint.one_file_model import CHUNK, fetch
from unit.storage.faulty_disk import Killed, kill_at

#: v1, v2, then a rollback to v1, each current for 100 s.
HISTORY = (Period("v1", 100, 200), Period("v2", 200, 300), Period("v1", 300))
ALL = {"v1", "v2", "v3"}


@pytest.mark.parametrize(
    ("window", "found"),
    [
        (MountWindow(120, 125), {"v1"}),
        (MountWindow(220, 225), {"v2"}),
        (MountWindow(320, 325), {"v1"}),
        (MountWindow(150, 250), {"v1", "v2"}),
        (MountWindow(196, 198), {"v1", "v2"}),
        (MountWindow(220, None), {"v1", "v2"}),
        (MountWindow(98, 98), {"v1"}),
        (MountWindow(50, 60), ALL),
    ],
    ids=[
        "v1",
        "v2",
        "after the rollback",
        "took long",
        "clocks differ",
        "not started",
        "rounded",
        "before the history",
    ],
)
def test_a_pod_reads_the_revision_that_was_current_when_it_mounted_the_model(
    window: MountWindow, found: set[str]
) -> None:
    assert mounted_revisions(HISTORY, [window], ALL) == found


def test_without_a_history_every_revision_may_be_mounted() -> None:
    assert mounted_revisions((), [MountWindow(1, 2)], ALL) == ALL
    assert mounted_revisions((), [], ALL) == frozenset()


def test_the_revisions_of_several_pods_are_added_and_those_that_are_gone_are_not_named() -> None:
    windows = [MountWindow(120, 125), MountWindow(220, 225)]
    assert mounted_revisions(HISTORY, windows, ALL) == {"v1", "v2"}
    assert mounted_revisions(HISTORY, windows, {"v1"}) == {"v1"}


@pytest.mark.parametrize(("current", "previous"), [("v1", "v2"), ("v2", "v1"), ("v3", "v2"), (None, "v2")])
def test_the_previous_revision_is_the_one_whose_time_ended_last(current: str | None, previous: str) -> None:
    assert previous_revision(HISTORY, current) == previous
    assert previous_revision((), current) is None


def test_windows_are_written_as_text_once_each() -> None:
    windows = (MountWindow(10.0, 12.0), MountWindow(20.0), MountWindow(10.0, 12.0))
    assert encode_windows(windows) == "10-12,20-"
    assert decode_windows("10-12,20-") == (MountWindow(10.0, 12.0), MountWindow(20.0))
    assert decode_windows("") == ()
    with pytest.raises(ValueError, match="float"):
        decode_windows("x-1")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A directory with three revisions."""
    for name in ALL:
        (tmp_path / "revisions" / name).mkdir(parents=True)
    (tmp_path / ".modelferry").mkdir()
    tree = Tree(tmp_path)
    yield tree
    tree.close()


def test_each_switch_ends_a_period_and_begins_one(tree: Tree) -> None:
    assert switch_current(tree, "v1", lambda: 10.0) is None
    assert switch_current(tree, "v2", lambda: 20.0) == "v1"
    assert switch_current(tree, "v2", lambda: 30.0) == "v2"
    assert switch_current(tree, "v1", lambda: 40.0) == "v2"
    assert read_history(tree) == (Period("v1", 10, 20), Period("v2", 20, 40), Period("v1", 40))
    assert tree.readlink("current") == "revisions/v1"


def test_a_directory_without_a_history_starts_one_with_what_is_current(tree: Tree) -> None:
    tree.symlink("revisions/v1", "current")
    switch_current(tree, "v2", lambda: 20.0)
    assert read_history(tree) == (Period("v1", 20, 20), Period("v2", 20))


@pytest.mark.parametrize("content", [b"{", b"[1]", b'[{"revision": "v1"}]', b"\xff"])
def test_a_damaged_history_is_started_again(tree: Tree, content: bytes) -> None:
    tree.symlink("revisions/v1", "current")
    (tree.root / layout.HISTORY).write_bytes(content)
    assert read_history(tree) == ()
    switch_current(tree, "v2", lambda: 20.0)
    assert [period.revision for period in read_history(tree)] == ["v1", "v2"]


def test_revisions_that_are_removed_are_forgotten(tree: Tree) -> None:
    switch_current(tree, "v1", lambda: 10.0)
    switch_current(tree, "v2", lambda: 20.0)
    forget_revisions(tree, {"v1"})
    assert json.loads((tree.root / layout.HISTORY).read_text()) == [{"revision": "v2", "began": 20.0, "ended": None}]


@pytest.mark.parametrize("step", range(1, 12))
def test_killed_at_any_step_of_a_switch_no_time_is_without_its_revision(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    switch_current(tree, "v1", lambda: 10.0)
    with monkeypatch.context() as patch, suppress(Killed):
        kill_at(patch, step, "fsync", "rename", "symlink", "unlink")
        switch_current(tree, "v2", lambda: 20.0)
    current = str(tree.readlink("current")).removeprefix("revisions/")
    assert current in mounted_revisions(read_history(tree), [MountWindow(25, 25)], ALL)
    switch_current(tree, "v2", lambda: 30.0)
    history = read_history(tree)
    assert current in mounted_revisions(history, [MountWindow(25, 25)], ALL)
    assert [period.revision for period in history if period.ended is None] == ["v2"]
    assert all(one.ended is not None and one.ended >= other.began for one, other in pairwise(history))


class Machine:
    """A node's directory, on which one download after another runs; its time advances by 100 s for each."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 1000.0

    def download(self, content: bytes, *windows: MountWindow) -> tuple[RetainedRevision, ...]:
        """Downloads a revision; `windows`: when running pods mounted the model. Returns the earlier ones that stay."""
        self.now += 100
        worker = CheckpointWorker(self.root, boot_id="b", clock=lambda: self.now, windows=windows)
        opened = worker.open(revision(content))
        if not opened.published:
            fetch(worker, 0, data=content)
            worker.verify_file(0)
        retained = worker.publish()
        worker.close()
        return retained

    def on_disk(self) -> set[str]:
        """The revisions on the disk."""
        return {path.name for path in (self.root / "revisions").iterdir()}


def revision(content: bytes) -> Manifest:
    """A manifest named after its content."""
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    return Manifest(content[:2].decode(), (FileEntry("d/a", CHUNK, digest, (Location("https://x/"),)),))


V1, V2, V3, V4 = (f"v{number}".encode() * (CHUNK // 2) for number in (1, 2, 3, 4))


def test_a_revision_that_a_pod_mounts_stays_through_a_rollback_and_the_next_revision(tmp_path: Path) -> None:
    """kserve/kserve#5030: v2 was removed under its consumer when v3 was published after a rollback to v1."""
    node = Machine(tmp_path)
    node.download(V1)
    node.download(V2)
    consumer = MountWindow(node.now + 20, node.now + 25)
    assert node.download(V1, consumer) == (RetainedRevision("v2", CHUNK, True),)
    assert node.download(V3, consumer) == (RetainedRevision("v1", CHUNK, False), RetainedRevision("v2", CHUNK, True))
    assert (tmp_path / "revisions/v2/d/a").read_bytes() == V2
    assert (tmp_path / "current/d/a").read_bytes() == V3


def test_a_revision_is_removed_by_the_next_download_when_its_pod_is_gone(tmp_path: Path) -> None:
    node = Machine(tmp_path)
    node.download(V1)
    consumer = MountWindow(node.now + 20, node.now + 25)
    node.download(V2, consumer)
    node.download(V3, consumer)
    assert node.on_disk() == {"v1", "v2", "v3"}
    assert node.download(V4) == (RetainedRevision("v3", CHUNK, False),)
    assert node.on_disk() == {"v3", "v4"}


def test_room_is_made_before_the_next_download_needs_it(tmp_path: Path) -> None:
    node = Machine(tmp_path)
    node.download(V1)
    consumer = MountWindow(node.now + 20, node.now + 25)
    node.download(V2, consumer)
    node.download(V3, consumer)
    worker = CheckpointWorker(tmp_path, boot_id="b", clock=lambda: 2000.0)
    worker.open(revision(V4))
    assert node.on_disk() == {"v2", "v3"}
    worker.close()
