"""Proxies that require a user name and a password: squid (HTTP) and dante (SOCKS5).

Each proxy connects to origins from an address of its own, so that an origin can detect direct connections.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from origin.certs import Leaf

USERNAME, PASSWORD = "ferry", "planted-proxy-secret"

#: A port to which both refuse connections.
BLOCKED_PORT = 22

_SQUID = """\
http_port {host}:{port}
{https}
auth_param basic program {run}/auth
auth_param basic realm ferry
acl known proxy_auth REQUIRED
acl blocked port {blocked}
http_access deny blocked
http_access allow known
http_access deny all
{outgoing}
hosts_file {run}/hosts
dns_timeout 2 seconds
connect_timeout 5 seconds
access_log stdio:{run}/access.log
cache_log {run}/cache.log
pid_filename {run}/squid.pid
coredump_dir {run}
netdb_filename none
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
"""

_AUTH = """\
#!/bin/sh
while read -r user password; do
  if [ "$user $password" = "{username} {password}" ]; then echo OK; else echo ERR; fi
done
"""

_DANTE = """\
logoutput: {run}/dante.log
internal: {host} port = {port}
external: {outgoing}
clientmethod: none
socksmethod: username
user.privileged: root
user.unprivileged: nobody
client pass {{
  from: 0/0 to: 0/0
}}
socks block {{
  from: 0/0 to: 0/0 port = {blocked}
}}
socks pass {{
  from: 0/0 to: 0/0
  command: connect
  log: connect error
}}
"""

#: dante uses the accounts and host names of the system, so it gets an /etc of its own in a mount namespace. The mount
#: is over the directory: one over a file would disappear when a package installation replaces the file.
_IN_NAMESPACE = "mount --make-rprivate / && mount --bind {run}/etc /etc && exec {danted} -f {run}/dante.conf"
_ETC_FILES = ("group", "nsswitch.conf", "resolv.conf", "host.conf", "services", "protocols", "ld.so.cache", "localtime")

_DEADLINE = 15.0


class _Proxy:
    """A proxy process. A context manager; `kill` and `start` may be called in between."""

    program: str
    package: str

    def __init__(self, host: str, names: Mapping[str, str]) -> None:
        if _find(self.program) is None:
            raise FileNotFoundError(f"{self.program} is not installed; run: apt-get install {self.package}")
        self.host, self.port = host, _free_port(host)
        self.run = Path(tempfile.mkdtemp(prefix=f"origin-{self.program}-"))
        self.run.chmod(0o755)
        hosts = [Path("/etc/hosts").read_text().rstrip("\n"), *(f"{address} {name}" for name, address in names.items())]
        self.hosts = "\n".join([*hosts, ""])
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.run, ignore_errors=True)

    @property
    def log(self) -> str:
        """The access log."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command that runs it in the foreground."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the process, also after `kill`; no effect if it runs."""
        if self._process is not None:
            return
        with (self.run / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + _DEADLINE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"{self.program} did not start: {(self.run / 'output').read_text()[-2000:]}")

    def kill(self) -> None:
        """Send SIGKILL to the process and its children, which breaks all connections."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_DEADLINE)
            self._process = None


class Squid(_Proxy):
    """An HTTP proxy; with `leaf` it also listens with TLS."""

    program, package = "squid", "squid"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        leaf: Leaf | None = None,
        names: Mapping[str, str] | None = None,
        outgoing: str = "127.0.0.2",
    ) -> None:
        super().__init__(host, names or {})
        self.url, self.outgoing = f"http://{host}:{self.port}", outgoing
        https = ""
        if leaf is not None:
            tls_port = _free_port(host)
            self.tls_url = f"https://{host}:{tls_port}"
            for name, file in (("cert", leaf.cert), ("key", leaf.key)):
                shutil.copy(file, self.run / name)
            https = f"https_port {host}:{tls_port} tls-cert={self.run}/cert tls-key={self.run}/key"
        settings = {"host": host, "port": self.port, "run": self.run, "blocked": BLOCKED_PORT, "https": https}
        settings["outgoing"] = f"tcp_outgoing_address {outgoing}" if outgoing else ""
        (self.run / "squid.conf").write_text(_SQUID.format(**settings))
        (self.run / "hosts").write_text(self.hosts)
        (self.run / "auth").write_text(_AUTH.format(username=USERNAME, password=PASSWORD))
        (self.run / "auth").chmod(0o755)
        if os.geteuid() == 0:
            for file in (self.run, *self.run.iterdir()):
                shutil.chown(file, "proxy", "proxy")  # the account of squid

    @property
    def log(self) -> str:
        """See _Proxy."""
        file = self.run / "access.log"
        return file.read_text() if file.exists() else ""

    def command(self) -> list[str]:
        """See _Proxy."""
        (self.run / "squid.pid").unlink(missing_ok=True)  # left by a killed process
        return [str(_find("squid")), "-N", "-f", str(self.run / "squid.conf")]


class Dante(_Proxy):
    """A SOCKS5 proxy. It needs root, since it authenticates system accounts."""

    program, package = "danted", "dante-server"

    def __init__(
        self, *, host: str = "127.0.0.1", names: Mapping[str, str] | None = None, outgoing: str = "127.0.0.3"
    ) -> None:
        super().__init__(host, names or {})
        self.url, self.outgoing = f"socks5h://{host}:{self.port}", outgoing
        settings = {"host": host, "port": self.port, "run": self.run, "blocked": BLOCKED_PORT, "outgoing": outgoing}
        (self.run / "dante.conf").write_text(_DANTE.format(**settings))
        command = ["openssl", "passwd", "-6", "-stdin"]
        password = subprocess.run(command, input=PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
        accounts = f"{Path('/etc/passwd').read_text()}{USERNAME}:x:64999:65534::/nonexistent:/usr/sbin/nologin\n"
        etc = self.run / "etc"
        etc.mkdir()
        for name in _ETC_FILES:
            if (Path("/etc") / name).exists():
                shutil.copy(Path("/etc") / name, etc)
        (etc / "hosts").write_text(self.hosts)
        (etc / "passwd").write_text(accounts)
        (etc / "shadow").touch(0o600)
        (etc / "shadow").write_text(f"{USERNAME}:{password}:19000:0:99999:7:::\n")

    @property
    def log(self) -> str:
        """See _Proxy."""
        file = self.run / "dante.log"
        return file.read_text() if file.exists() else ""

    def command(self) -> list[str]:
        """See _Proxy."""
        return ["unshare", "--mount", "sh", "-c", _IN_NAMESPACE.format(run=self.run, danted=_find("danted"))]


def why_unavailable(kind: type[Squid] | type[Dante]) -> str:
    """Why this proxy cannot run here, with the remedy; empty if it can."""
    if _find(kind.program) is None:
        return f"{kind.program} is not installed; run: apt-get install {kind.package}"
    return "dante needs root, since it authenticates system accounts" if kind is Dante and os.geteuid() != 0 else ""


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])
