"""For tests of the real command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from network.command.harness import CONTENTS, CommandHarness
from origin.certs import Authority
from origin.server import HostileOrigin


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CONTENTS as files: the origin takes their ETags from the file system, not from 48 MiB at each request."""
    root = tmp_path_factory.mktemp("model")
    for path, content in CONTENTS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture
async def harness(tmp_path: Path, model: Path) -> AsyncIterator[CommandHarness]:
    (tmp_path / "tmp").mkdir()
    # The command is run in this directory: what lies around there must not be taken for one of Python's modules.
    (tmp_path / "ssl.py").write_text("raise SystemExit('the ssl.py of the current directory was imported')\n")
    authority = Authority(tmp_path)
    async with HostileOrigin(root=model, tls=authority.leaf("127.0.0.1").context()) as origin:
        harness = CommandHarness(tmp_path, authority, origin)
        harness.write()
        yield harness
    assert list(harness.temporary.iterdir()) == [], "the command left something in the temporary directory"
