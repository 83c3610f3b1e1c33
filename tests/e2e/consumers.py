"""The examples, with the images and URLs of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Deployments of the examples: one that waits by scheduling only, and one with an init container.
GATED, WAITING = "chattts-server", "chattts-server-wait"


def example_model(source: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """examples/model.yaml with other files."""
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / "model.yaml").read_text())
    document["spec"]["source"]["http"]["files"] = source
    document["spec"] |= spec
    return document


def example_consumers(image: str) -> list[dict[str, Any]]:
    """examples/inference.yaml and examples/inference-wait.yaml with the image under test."""
    found = []
    for name in ("inference.yaml", "inference-wait.yaml"):
        document = yaml.safe_load((EXAMPLES / name).read_text())
        pod = document["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            container["image"] = image
        found.append(document)
    return found
