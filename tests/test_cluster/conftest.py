"""What the tests of tests/cluster need of the machine."""

from __future__ import annotations

import os
import sys

import pytest


@pytest.fixture(scope="session")
def able() -> None:
    """Raising a cluster needs Linux and root; where CI says that nothing may be left out, the test fails without."""
    if not (sys.platform.startswith("linux") and os.geteuid() == 0) and os.environ.get("CI") != "true":
        pytest.skip("raising a cluster needs Linux and root: sudo -E make e2e")
