"""A server as a child process on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from cluster.shell import wait_until

#: Seconds in which a server must start to listen, and end.
_DEADLINE = 60.0


class Server:
    """A context manager for one process. Subclasses define `command`; the files of the process are in `run`."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, _free_port(host)
        self.run = Path(tempfile.mkdtemp(prefix="modelferry-store-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def authority(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    def command(self) -> tuple[list[str | Path], Mapping[str, str]]:
        """The command line, and the environment without PATH and HOME."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        words, environment = self.command()
        with (self.run / "log").open("wb") as log:
            env = {"PATH": os.environ["PATH"], "HOME": str(self.run), **environment}
            self._process = subprocess.Popen(words, env=env, stdout=log, stderr=log, cwd=self.run)
        try:
            wait_until(f"{type(self).__name__} to be ready", self.ready, _DEADLINE)
        except BaseException as error:
            error.add_note((self.run / "log").read_text(errors="replace")[-2000:])
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_DEADLINE)
        shutil.rmtree(self.run, ignore_errors=True)

    def ready(self) -> bool:
        """Whether it listens; raises OSError if it does not."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(
                f"{type(self).__name__} ended: {(self.run / 'log').read_text(errors='replace')[-2000:]}"
            )
        with socket.create_connection((self.host, self.port), timeout=1):
            return True


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])
