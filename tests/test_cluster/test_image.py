"""The image that is built from the project's Dockerfile."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pytest

from cluster import image

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("able")]

MAX_OWN_SIZE = 150 * 10**6  # bytes, without the 50 MB of Debian's Python, which is in the base


@dataclass(frozen=True)
class Built:
    """A built image. `own`: the paths of the files that it adds to its base; `own_size` in bytes."""

    config: dict[str, Any]
    files: set[str]
    own: set[str]
    own_size: int


@pytest.fixture(scope="module")
def built(able: None) -> Built:
    with tarfile.open(image.project_image().tar) as archive:
        manifest = json.load(_member(archive, "manifest.json"))[0]
        config = json.load(_member(archive, manifest["Config"]))["config"]
        base, *own = [list(_files(archive, layer)) for layer in manifest["Layers"]]
    added = [entry for layer in own for entry in layer]
    names = {entry.name for entry in added}
    return Built(config, names | {entry.name for entry in base}, names, sum(entry.size for entry in added))


def _member(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None
    return file


def _files(archive: tarfile.TarFile, layer: str) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=_member(archive, layer)) as files:
        yield from (entry for entry in files if not entry.isdir())


def test_the_image_runs_modelferry_without_privileges(built: Built) -> None:
    assert built.config["User"] == "65532:65532"
    assert built.config["Entrypoint"] == ["/opt/modelferry/bin/modelferry"]
    assert "opt/modelferry/bin/modelferry" in built.own


def test_the_image_contains_no_installer_and_no_compiler(built: Built) -> None:
    unwanted = {"pip", "pip3", "ensurepip", "setuptools", "python-wheels", "cc", "gcc", "as", "ld"}
    assert not {name for name in built.files if unwanted & set(PurePath(name).parts)}


def test_the_image_is_small(built: Built) -> None:
    assert built.own_size < MAX_OWN_SIZE


def test_the_operator_is_compiled_to_bytecode(built: Built) -> None:
    sources = {PurePath(name) for name in built.own if "/modelferry/" in name and name.endswith(".py")}
    package = {source for source in sources if "site-packages/modelferry/" in str(source)}
    compiled = {PurePath(name) for name in built.own if name.endswith(".pyc")}
    assert package
    assert {source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc" for source in package} <= compiled


def test_the_image_contains_nothing_of_the_build_machine(built: Built) -> None:
    assert not {name for name in built.own if "pip.conf" in name or name.startswith("mnt/")}
