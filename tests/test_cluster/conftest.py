"""Fixtures for the tests of tests/cluster."""

from __future__ import annotations

import os
import sys

import pytest


@pytest.fixture(scope="session")
def able() -> None:
    """Skips a test without Linux and root, which a cluster needs; with CI=true the test fails instead."""
    if not (sys.platform.startswith("linux") and os.geteuid() == 0) and os.environ.get("CI") != "true":
        pytest.skip("a test cluster needs Linux and root; run: sudo -E make e2e")
