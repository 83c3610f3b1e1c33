"""``python -m network.self_killing CALL CHUNK ARGUMENTS…``: the command ``modelferry``, with chunks of CHUNK bytes.

It sends itself SIGKILL at its disk operation number CALL (0: never)."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from modelferry.cli.main import main
from modelferry.manifest import chunks
from unit.storage.faulty_disk import Fault, FaultyDisk


class SelfKillingDisk(FaultyDisk):
    """Counts disk operations, and kills the process at the last one."""

    def count_call(self, name: str) -> str:
        """Count one operation; the last one does not return."""
        if super().count_call(name) == "EIO":
            os.kill(os.getpid(), signal.SIGKILL)
        return ""


def run() -> int:
    """Run the command line."""
    call, chunks.CHUNK_SIZE = int(sys.argv[1]), int(sys.argv[2])
    with SelfKillingDisk((Fault(call, "EIO"),)).installed(pytest.MonkeyPatch()):
        return main(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(run())
