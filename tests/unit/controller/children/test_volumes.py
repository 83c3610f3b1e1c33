"""The volumes that the operator creates."""

from __future__ import annotations

import json

from modelferry.controller.children import volumes
from unit.controller.objects import MANIFEST, SETTINGS, document, observed

ARTIFACT = observed().artifact


def test_only_the_readers_volume_requires_the_ready_label() -> None:
    reader = volumes.reader_volume(ARTIFACT, SETTINGS, MANIFEST)["spec"]
    writer = volumes.writer_volume(ARTIFACT, SETTINGS, MANIFEST)["spec"]
    assert "speech.ready.modelferry.dev/chattts" in json.dumps(reader["nodeAffinity"])
    assert "modelferry.dev" not in json.dumps(writer["nodeAffinity"])
    assert reader["local"]["path"] == "/var/lib/modelferry/speech/chattts/current"
    assert reader["mountOptions"] == ["ro"]


def test_names_of_two_artifacts_never_collide() -> None:
    one = observed(document(name="b-c", namespace="a")).artifact
    two = observed(document(name="c", namespace="a-b")).artifact
    assert (
        volumes.writer_volume(one, SETTINGS, MANIFEST)["metadata"]["name"]
        != volumes.writer_volume(two, SETTINGS, MANIFEST)["metadata"]["name"]
    )
