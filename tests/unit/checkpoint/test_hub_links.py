"""Published files in the layout of a Hugging Face cache: hard links that follow the files through every change."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from modelferry.agent.wait import check_model
from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.errors import DiskError, InvalidSpec
from modelferry.maintenance.repair import locked
from modelferry.maintenance.revision_check import verify
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.resource.hub_cache import HubCache, from_command_line, to_command_line
from unit.checkpoint.one_file_model import DATA, write, written_chunk
from unit.storage.faulty_disk import Killed, kill_at

COMMIT = "8f3c2a1d" * 5
INSTEAD = HubCache.of("acme/speech", "model", "main", beside_plain=False)
BESIDE = replace(INSTEAD, beside_plain=True)
FOLDER = "models--acme--speech"
LINK = f"{FOLDER}/snapshots/{COMMIT}/d/a"
#: Calls that change the disk while a revision is published with links.
STEPS = 70
CALLS = ("fsync", "rename", "symlink", "link", "mkdir", "unlink", "fchmod")


def model(content: bytes = DATA, commit: str = COMMIT, path: str = "d/a") -> Manifest:
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    return Manifest(commit, (FileEntry(path, len(content), digest, (Location("https://x/"),)),))


def opened(root: Path, cache: HubCache | None, manifest: Manifest) -> CheckpointWorker:
    worker = CheckpointWorker(root, boot_id="boot-1", clock=lambda: 1000.0, hub_cache=cache)
    try:
        worker.open(manifest)
    except BaseException:
        worker.close()
        raise
    return worker


def prepare(root: Path, cache: HubCache | None, manifest: Manifest, data: bytes = DATA) -> CheckpointWorker:
    """A worker with all of a revision but its publication."""
    worker = opened(root, cache, manifest)
    write(worker, 0, 1, 2, 3, data=data)
    worker.commit_chunks([written_chunk(worker, index) for index in range(4)])
    worker.verify_file(0)
    return worker


def publish(root: Path, cache: HubCache | None, manifest: Manifest | None = None, data: bytes = DATA) -> None:
    worker = prepare(root, cache, manifest or model(), data)
    worker.publish()
    worker.close()


def reopen(root: Path, cache: HubCache | None) -> None:
    """What a later download pod does with a published revision."""
    worker = opened(root, cache, model())
    assert worker.published
    worker.close()


def names(root: Path) -> set[str]:
    """What a consumer sees."""
    return {str(path.relative_to(root / "current")) for path in (root / "current").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("repo", "kind", "revision", "folder", "refs"),
    [
        ("acme/speech", "model", "main", "models--acme--speech", ("main",)),
        ("bert", "model", "v1", "models--bert", ("main", "v1")),
        ("acme/voices", "dataset", "refs/pr/1", "datasets--acme--voices", ("main", "refs/pr/1")),
        ("acme/speech", "model", COMMIT, "models--acme--speech", (COMMIT, "main")),
        ("acme/speech", "model", "main/next", "models--acme--speech", ("main/next",)),
    ],
)
def test_a_repository_is_found_by_its_revision_and_as_main(
    repo: str, kind: str, revision: str, folder: str, refs: tuple[str, ...]
) -> None:
    cache = HubCache.of(repo, kind, revision, beside_plain=True)
    assert (cache.folder, cache.refs) == (folder, refs)
    assert cache.snapshot(f"{COMMIT}-0123456789ab") == f"{folder}/snapshots/{COMMIT}"


@pytest.mark.parametrize("cache", [None, INSTEAD, BESIDE])
def test_the_layout_reaches_the_sidecar_by_its_command_line(cache: HubCache | None) -> None:
    words = to_command_line(cache)
    values = dict(zip(words[::2], words[1::2], strict=True))
    refs = [value for word, value in zip(words[::2], words[1::2], strict=True) if word == "--hub-ref"]
    assert from_command_line(values.get("--layout", "plain"), values.get("--hub-folder", ""), refs) == cache


def test_beside_the_plain_files_or_instead_of_them_and_never_a_second_copy(tmp_path: Path) -> None:
    extra = {LINK, f"{FOLDER}/refs/main", ".modelferry-ready.json"}
    for cache, seen in ((INSTEAD, extra), (BESIDE, extra | {"d/a"})):
        root = tmp_path / str(cache.beside_plain)
        root.mkdir()
        publish(root, cache)
        assert names(root) == seen
        assert (root / "current" / LINK).read_bytes() == DATA
        assert (root / "current" / FOLDER / "refs" / "main").read_text() == COMMIT
        assert (root / "current" / LINK).stat().st_nlink == 2
        assert (root / "current" / LINK).samefile(root / "revisions" / COMMIT / "d" / "a")
        for place in (root, root / "current"):
            ready = check_model(place, COMMIT)
            assert isinstance(ready, ReadyMarker), ready
        assert verify(root).ok


def test_a_marker_without_a_layout_has_the_fields_that_it_always_had(tmp_path: Path) -> None:
    publish(tmp_path, None)
    marker = (tmp_path / "current" / ".modelferry-ready.json").read_text()
    assert "snapshot" not in marker
    assert "plain" not in marker


@pytest.mark.parametrize("first", [None, INSTEAD, BESIDE])
@pytest.mark.parametrize("second", [None, INSTEAD, BESIDE])
def test_another_layout_needs_no_download_and_leaves_running_consumers_alone(
    tmp_path: Path, first: HubCache | None, second: HubCache | None
) -> None:
    publish(tmp_path, first)
    mounted = (tmp_path / "current").resolve()
    before = {path: path.read_bytes() for path in mounted.rglob("*") if path.is_file() and "ready" not in path.name}
    reopen(tmp_path, second)
    assert ("d/a" in names(tmp_path), LINK in names(tmp_path)) in {
        None: [(True, False), (True, True)],
        INSTEAD: [(False, True)],
        BESIDE: [(True, True)],
    }[second]
    assert {path: path.read_bytes() for path in before} == before
    assert verify(tmp_path).ok
    assert isinstance(check_model(tmp_path, COMMIT), ReadyMarker)


@pytest.mark.parametrize(("cache", "step"), [((INSTEAD, BESIDE)[step % 2], step) for step in range(1, STEPS + 1)])
def test_killed_at_any_step_of_publishing_the_next_start_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: HubCache, step: int
) -> None:
    worker = prepare(tmp_path, cache, model())
    with monkeypatch.context() as patch, suppress(Killed):
        kill_at(patch, step, *CALLS)
        worker.publish()
    worker.close()
    if (tmp_path / "current").exists():
        assert (tmp_path / "current" / LINK).read_bytes() == DATA
        assert isinstance(check_model(tmp_path, COMMIT), ReadyMarker)
    worker = opened(tmp_path, cache, model())
    assert worker.states[0].missing() == ()
    worker.publish()
    worker.close()
    assert (tmp_path / "current" / LINK).read_bytes() == DATA
    assert (tmp_path / "current" / FOLDER / "refs" / "main").read_text() == COMMIT
    assert verify(tmp_path).ok


def test_publishing_has_no_more_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in (INSTEAD, BESIDE):
        root = tmp_path / str(cache.beside_plain)
        root.mkdir()
        worker = prepare(root, cache, model())
        with monkeypatch.context() as patch:
            kill_at(patch, STEPS + 1, *CALLS)
            worker.publish()
        worker.close()


@pytest.mark.parametrize("cache", [INSTEAD, BESIDE], ids=["instead", "beside"])
def test_links_go_with_their_revision(tmp_path: Path, cache: HubCache) -> None:
    for number, content in enumerate((DATA, DATA[::-1], DATA[1:] + DATA[:1])):
        publish(tmp_path, cache, model(content, f"{number}" * 40), content)
    assert {path.name for path in (tmp_path / "revisions").iterdir()} == {"1" * 40, "2" * 40}
    assert (tmp_path / "current" / FOLDER / "refs" / "main").read_text() == "2" * 40
    assert (tmp_path / "current" / FOLDER / "snapshots" / ("2" * 40) / "d" / "a").read_bytes() == DATA[1:] + DATA[:1]


@pytest.mark.parametrize("cache", [INSTEAD, BESIDE], ids=["instead", "beside"])
def test_a_link_that_is_missing_or_another_file_is_found_and_made_again(tmp_path: Path, cache: HubCache) -> None:
    publish(tmp_path, cache)
    link = tmp_path / "current" / LINK
    for content in (None, DATA):
        link.unlink()
        if content is not None:
            link.write_bytes(content)
        [report] = verify(tmp_path).damaged
        assert (report.path, report.state) == ("d/a", "unlinked")
        with locked(tmp_path):
            assert verify(tmp_path).ok
    link.unlink()
    reopen(tmp_path, cache)
    assert link.read_bytes() == DATA


@pytest.mark.parametrize("cache", [INSTEAD, BESIDE], ids=["instead", "beside"])
def test_a_lost_file_is_fetched_again_and_its_links_follow(tmp_path: Path, cache: HubCache) -> None:
    publish(tmp_path, cache)
    (tmp_path / "revisions" / COMMIT / "d" / "a").unlink()
    worker = opened(tmp_path, cache, model())
    assert not worker.published
    assert not (tmp_path / "current").exists()
    write(worker, 0, 1, 2, 3)
    worker.commit_chunks([written_chunk(worker, index, generation=1) for index in range(4)])
    worker.verify_file(0)
    worker.publish()
    worker.close()
    assert verify(tmp_path).ok
    assert (tmp_path / "current" / LINK).samefile(tmp_path / "revisions" / COMMIT / "d" / "a")


def test_a_file_system_without_hard_links_is_told_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(DiskError, match=r"has no hard links, which spec\.layout needs") as raised:
            opened(tmp_path, BESIDE, model())
    assert raised.value.reason == "UnsuitableFileSystem"
    assert not (tmp_path / ".modelferry" / "incoming").exists()
    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(DiskError, match=r"has no symbolic links, which spec\.layout: huggingface needs"):
        opened(tmp_path, INSTEAD, model())
    publish(tmp_path, BESIDE)
    assert (tmp_path / "current" / LINK).samefile(tmp_path / "current" / "d" / "a")
    assert verify(tmp_path).ok


def test_a_repository_that_has_a_cache_in_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="the source itself has models--acme--speech/x, where the layout both"):
        opened(tmp_path, BESIDE, model(path=f"{FOLDER}/x"))
