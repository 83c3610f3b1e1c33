"""Fixtures of the end-to-end suite: the platform, the operator on it, a namespace for each test, and real origins."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.kit import SYSTEM, Kit
from e2e.platform import Platform, platform

CHART = Path(__file__).parents[2] / "charts/modelferry"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this directory needs a cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def bare_platform() -> Iterator[Platform]:
    """The cluster, without the operator."""
    with platform() as found:
        yield found


@pytest.fixture(scope="session")
def installed(bare_platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The cluster with the operator, installed as the README says, trusting the test origins' authority."""
    repository, _, tag = bare_platform.image.rpartition(":")
    values = tmp_path_factory.mktemp("helm") / "values.json"
    image = {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
    values.write_text(json.dumps({"image": image, "trustedCA": ""}))
    bare_platform.helm(
        "upgrade", "--install", "modelferry", CHART, "--namespace", SYSTEM, "--create-namespace",
        "--values", values, "--wait", "--timeout", "120s",
    )  # fmt: skip
    return bare_platform


@pytest.fixture
def kit(installed: Platform) -> Iterator[Kit]:
    """A namespace of the test's own; what the test leaves in it is deleted."""
    name = f"speech-{secrets.token_hex(3)}"
    installed.kubectl("create", "namespace", name)
    installed.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    found = Kit(installed, name)
    yield found
    found.kubectl("delete", "deployments,ma", "--all", "--timeout=90s")
    installed.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def quiet(installed: Platform) -> Kit:
    """The default namespace, for what only asks the API server."""
    return Kit(installed, "default")
