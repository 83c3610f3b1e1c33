"""`modelferry cleanup` on a cluster in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from modelferry.cli import cleanup
from modelferry.controller.kube import APIError
from modelferry.errors import ArtifactsExist, OperatorRuns
from modelferry.resource import KIND, names
from unit.controller.objects import document
from unit.controller.test_cleanup_plan import cluster


class Cluster:
    """The API server: objects by kind. Artifacts with a finalizer stay until it is removed."""

    def __init__(self, objects: Mapping[str, list[dict[str, Any]]]) -> None:
        self.objects = json.loads(json.dumps(objects))  # as from the API server: nothing is shared

    async def list(
        self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """As Kube.list."""
        if kind not in self.objects:
            raise APIError(404, "the server could not find the requested resource")
        found = [one for one in self.objects[kind] if namespace in ("", one["metadata"].get("namespace"))]
        wanted = (labels or {}).items()
        return [one for one in found if wanted <= (one["metadata"].get("labels") or {}).items()]

    async def delete(self, kind: str, name: str, namespace: str = "", **_: Any) -> None:
        """As Kube.delete."""
        for one in list(self.objects[kind]):
            if one["metadata"]["name"] == name:
                one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._collect(kind)

    async def merge(self, kind: str, name: str, patch: dict[str, Any], namespace: str = "") -> bool:
        """As Kube.merge."""
        for one in self.objects[kind]:
            if one["metadata"]["name"] == name:
                for field, value in patch["metadata"].items():
                    if isinstance(value, dict):
                        old = one["metadata"].get(field) or {}
                        value = {key: new for key, new in (old | value).items() if new is not None}
                    one["metadata"][field] = value
        self._collect(kind)
        return True

    def left(self) -> set[str]:
        """The kinds of which there is any object."""
        return {kind for kind, found in self.objects.items() if found}

    def _collect(self, kind: str) -> None:
        def stays(meta: dict[str, Any]) -> bool:
            return "deletionTimestamp" not in meta or (kind == KIND and bool(meta.get("finalizers")))

        self.objects[kind] = [one for one in self.objects[kind] if stays(one["metadata"])]


def operator_pod(phase: str) -> dict[str, Any]:
    """The operator's pod, as the chart labels it."""
    meta = {"name": "modelferry-1", "namespace": "tools", "labels": {"app.kubernetes.io/name": "modelferry"}}
    return {"metadata": meta, "status": {"phase": phase}}


async def test_without_yes_nothing_changes_and_everything_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    api = Cluster(cluster())
    before = json.dumps(api.objects)
    await cleanup.clean_up(api, "", yes=False)  # type: ignore[arg-type]
    assert json.dumps(api.objects) == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["artifacts:", "  speech/chattts"]
    assert "  PersistentVolumeClaim speech/chattts-modelferry-writer" in lines
    assert lines[-4:] == [
        "directories that stay on the nodes; remove them there:",
        "  node-0  /var/lib/modelferry/speech/chattts",
        "  node-1  /var/lib/modelferry/speech/chattts",
        "nothing is deleted yet; add --yes to delete the artifacts and objects",
    ]


async def test_with_yes_nothing_of_ours_is_left_but_directories(capsys: pytest.CaptureFixture[str]) -> None:
    api = Cluster(cluster())
    await cleanup.clean_up(api, "", yes=True)  # type: ignore[arg-type]
    assert api.left() == {"Node"}
    assert [node["metadata"]["labels"] for node in api.objects["Node"]] == [
        {"kubernetes.io/hostname": "node"},
        {"kubernetes.io/hostname": "node"},
        {"modelferry.dev/pool": "yes"},
    ]
    assert "  node-1  /var/lib/modelferry/speech/chattts" in capsys.readouterr().out.splitlines()
    await cleanup.clean_up(api, "", yes=True)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == ["there is nothing to delete", "done"]


async def test_finalizers_of_others_stay() -> None:
    objects = cluster()
    objects[KIND] = [document(finalizers=["example.com/audit", names.FINALIZER])]
    api = Cluster(objects)
    await cleanup.clean_up(api, "", yes=True)  # type: ignore[arg-type]
    (left,) = api.objects[KIND]
    assert left["metadata"]["finalizers"] == ["example.com/audit"]
    assert left["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("phase", ["Pending", "Running"])
async def test_a_cleanup_beside_an_operator_is_refused(phase: str) -> None:
    objects = cluster()
    objects["Pod"].append(operator_pod(phase))
    with pytest.raises(OperatorRuns, match=r"pod modelferry-1 in namespace tools exists.* kubectl delete ma --all"):
        await cleanup.clean_up(Cluster(objects), "", yes=True)  # type: ignore[arg-type]


async def test_a_cluster_without_the_crd_is_cleaned_too() -> None:
    objects = cluster()
    del objects[KIND]
    api = Cluster(objects)
    api.objects["Pod"].append(operator_pod("Succeeded"))
    await cleanup.clean_up(api, "", yes=True)  # type: ignore[arg-type]
    assert api.left() == {"Node", "Pod"}


def test_the_check_names_the_artifacts_and_the_remedy() -> None:
    cleanup.refuse_artifacts([])
    with pytest.raises(ArtifactsExist, match=r"1 artifact \(speech/chattts\).* kubectl delete ma --all"):
        cleanup.refuse_artifacts([document()])
    many = [document(name=f"m-{number}") for number in range(9)]
    with pytest.raises(ArtifactsExist, match=r"9 artifacts \(speech/m-0, .*speech/m-4, \.\.\.\)"):
        cleanup.refuse_artifacts(many)


async def test_with_an_operator_the_artifacts_are_deleted_and_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    message = "waiting: pod server on node-0 uses the model"
    waiting = document() | {"status": {"conditions": [{"type": "Ready", "status": "False", "message": message}]}}
    api = Cluster({KIND: [waiting]})
    sleeps = []

    async def operator_works(seconds: float) -> None:
        sleeps.append(seconds)
        (artifact,) = api.objects[KIND]
        assert artifact["metadata"]["deletionTimestamp"]
        if len(sleeps) == 2:
            await api.merge(KIND, "chattts", {"metadata": {"finalizers": []}})

    await cleanup.delete_with_operator(api, "", operator_works)  # type: ignore[arg-type]
    assert api.left() == set()
    assert capsys.readouterr().out.splitlines() == [f"1 artifact left; speech/chattts: {message}"]


async def test_an_artifact_that_is_created_meanwhile_is_not_deleted() -> None:
    api = Cluster({KIND: [document()]})

    async def operator_works(_: float) -> None:
        api.objects[KIND] = [document(name="new", uid="u-2")]

    with pytest.raises(ArtifactsExist, match="speech/new"):
        await cleanup.delete_with_operator(api, "", operator_works)  # type: ignore[arg-type]
    assert "deletionTimestamp" not in api.objects[KIND][0]["metadata"]
