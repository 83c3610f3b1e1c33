"""nginx as an origin: TLS 1.3, byte ranges, an access log in JSON."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from origin.certs import Leaf

_CONFIG = """\
daemon off;
{user}worker_processes {workers};
pid {run}/nginx.pid;
error_log {run}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  types {{ }}
  default_type application/octet-stream;
  sendfile on;
  keepalive_requests 100000;
  client_body_temp_path {run}/body;
  proxy_temp_path {run}/proxy;
  fastcgi_temp_path {run}/fastcgi;
  uwsgi_temp_path {run}/uwsgi;
  scgi_temp_path {run}/scgi;
  log_format requests escape=json
    '{{"path":"$uri","range":"$http_range","status":$status,"sent":$body_bytes_sent,"time":$msec,"seconds":$request_time,"client":"$ssl_client_s_dn"}}';
  access_log {log} requests;
  server {{
    listen {listen}{ssl};
    {tls}
    {limit}
    {demand}
    root {root};
  }}
}}
"""

#: Seconds in which nginx must start to listen, and end.
_DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the access log: ``sent`` bytes of content; ``time`` of its end in seconds since 1970; its duration in
    ``seconds``; ``client``: the subject of the client certificate."""

    path: str
    range: str
    status: int
    sent: int
    time: float
    seconds: float
    client: str


class Nginx:
    """Serves the files below `root`. A context manager.

    `leaf`: the certificate for TLS, `tls`: the TLS versions. `rate` limits each response, in bytes per second.
    `prefix`: the start of the command line, such as ``ip netns exec NAME``; it requires a `port`. `clients`: the CAs
    for client certificates, which are required (`verify` = ``on``) or ``optional``. `demand`: the name and value of a
    header field without which a request is answered by 403.
    """

    def __init__(
        self,
        root: Path,
        *,
        leaf: Leaf | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        rate: int | None = None,
        workers: int = 1,
        prefix: Sequence[str] = (),
        log: Path | None = None,
        tls: str = "TLSv1.3",
        clients: Path | None = None,
        verify: str = "on",
        demand: tuple[str, str] | None = None,
    ) -> None:
        self._root, self._leaf, self._rate, self._workers = root, leaf, rate, workers
        self._prefix = list(prefix)
        self._host, self._tls = host, tls
        self._clients, self._verify, self._demand = clients, verify, demand
        self.port = port or _free_port(host)
        self._run = Path(tempfile.mkdtemp(prefix="origin-nginx-"))
        self.log = log or self._run / "access.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = self._start()
        try:
            self._wait_until_listening()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._run, ignore_errors=True)

    def stop(self) -> None:
        """Stop the server; `start` starts it again on the same port."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_DEADLINE)
            self._process = None

    def start(self) -> None:
        """Start the server again after `stop`."""
        self._process = self._start()
        self._wait_until_listening()

    def url(self, path: str) -> str:
        """The URL of `path`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._leaf else 'http'}://{host}:{self.port}/{path.lstrip('/')}"

    def requests(self) -> list[Request]:
        """The access log so far."""
        return [Request(**json.loads(line)) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def _start(self) -> subprocess.Popen[bytes]:
        config = self._run / "nginx.conf"
        host = f"[{self._host}]" if ":" in self._host else self._host
        tls = ""
        if self._leaf is not None:
            tls = f"ssl_certificate {self._leaf.cert}; ssl_certificate_key {self._leaf.key}; ssl_protocols {self._tls};"
        if self._clients is not None:
            tls += f" ssl_client_certificate {self._clients}; ssl_verify_client {self._verify};"
        config.write_text(
            _CONFIG.format(
                # If root starts nginx, its workers run as another user, which cannot read the test's files.
                user="user root;\n" if os.geteuid() == 0 else "",
                workers=self._workers,
                run=self._run,
                log=self.log,
                listen=f"{host}:{self.port}",
                ssl=" ssl" if self._leaf else "",
                tls=tls,
                limit=f"limit_rate {self._rate};" if self._rate else "",
                demand=self._demanded(),
                root=self._root,
            )
        )
        binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if binary is None:
            raise FileNotFoundError("nginx is not installed; run: apt-get install nginx-light")
        command = [*self._prefix, binary, "-c", str(config), "-p", str(self._run), "-e", str(self._run / "error.log")]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def _demanded(self) -> str:
        if self._demand is None:
            return ""
        name, value = self._demand
        return f'if ($http_{name.lower().replace("-", "_")} != "{value}") {{ return 403; }}'

    def _wait_until_listening(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _DEADLINE
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._listens():
                return
            time.sleep(0.02)
        raise RuntimeError(f"nginx did not start: {(self._run / 'error.log').read_text()}")

    def _listens(self) -> bool:
        if self._prefix:
            # Its address is in another namespace; it writes the PID file when it listens.
            return (self._run / "nginx.pid").exists()
        try:
            socket.create_connection((self._host, self.port), 1.0).close()
        except OSError:
            return False
        return True


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
