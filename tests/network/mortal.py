"""``python -m network.mortal CALL CHUNK ARGUMENTS…``: the command ``modelferry``, which ends itself by SIGKILL at call
number CALL that it makes to the disk (0: never), with chunks of CHUNK bytes."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from modelferry.cli.main import main
from modelferry.manifest import chunks
from unit.engine.storage.faulty_disk import Fault, FaultyDisk


class MortalEdge(FaultyDisk):
    """Counts, and is not merciful."""

    def count_call(self, name: str) -> str:
        """One more call; the last one does not return."""
        if super().count_call(name) == "EIO":
            os.kill(os.getpid(), signal.SIGKILL)
        return ""


def live() -> int:
    """Run the command line."""
    call, chunks.CHUNK_SIZE = int(sys.argv[1]), int(sys.argv[2])
    with MortalEdge((Fault(call, "EIO"),)).installed(pytest.MonkeyPatch()):
        return main(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(live())
