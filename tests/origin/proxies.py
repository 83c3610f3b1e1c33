"""Real proxies that want a user name and a password: Debian's squid (HTTP) and dante (SOCKS5).

The origins behind them see each by an address of its own, so that a request past the proxy is known by its peer.
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

#: A port that neither lets anybody to.
SHUT = 22

_SQUID = """\
http_port {host}:{port}
{https}
auth_param basic program {run}/auth
auth_param basic realm ferry
acl known proxy_auth REQUIRED
acl shut port {shut}
http_access deny shut
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
  from: 0/0 to: 0/0 port = {shut}
}}
socks pass {{
  from: 0/0 to: 0/0
  command: connect
  log: connect error
}}
"""

#: dante asks the system for accounts and names: it gets an /etc of its own, in a mount namespace of its own. (Of
#: the directory: a mount over one file falls off when somebody installs a package and the real file is replaced.)
_PRIVATELY = "mount --make-rprivate / && mount --bind {run}/etc /etc && exec {danted} -f {run}/dante.conf"
_OF_ETC = ("group", "nsswitch.conf", "resolv.conf", "host.conf", "services", "protocols", "ld.so.cache", "localtime")

_DEADLINE = 15.0


class _Proxy:
    """A proxy's processes. Use as a context manager; `kill` and `start` in between."""

    program: str
    package: str

    def __init__(self, host: str, names: Mapping[str, str]) -> None:
        if _find(self.program) is None:
            raise FileNotFoundError(f"{self.program}; install Debian's package {self.package}")
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
        """What it was asked for."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What runs in the foreground."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to listen, also after `kill`; nothing where it runs."""
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
        raise RuntimeError(f"{self.program} does not listen: {(self.run / 'output').read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to it and its children; every connection through it breaks."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_DEADLINE)
            self._process = None


class Squid(_Proxy):
    """An HTTP proxy; with `leaf` it listens by TLS as well."""

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
        told = {"host": host, "port": self.port, "run": self.run, "shut": SHUT, "https": https}
        told["outgoing"] = f"tcp_outgoing_address {outgoing}" if outgoing else ""
        (self.run / "squid.conf").write_text(_SQUID.format(**told))
        (self.run / "hosts").write_text(self.hosts)
        (self.run / "auth").write_text(_AUTH.format(username=USERNAME, password=PASSWORD))
        (self.run / "auth").chmod(0o755)
        if os.geteuid() == 0:
            for file in (self.run, *self.run.iterdir()):
                shutil.chown(file, "proxy", "proxy")  # the account that squid works under

    @property
    def log(self) -> str:
        """See _Proxy."""
        file = self.run / "access.log"
        return file.read_text() if file.exists() else ""

    def command(self) -> list[str]:
        """See _Proxy."""
        (self.run / "squid.pid").unlink(missing_ok=True)  # of one that was killed
        return [str(_find("squid")), "-N", "-f", str(self.run / "squid.conf")]


class Dante(_Proxy):
    """A SOCKS5 proxy; it needs root, for an account that exists for it alone."""

    program, package = "danted", "dante-server"

    def __init__(
        self, *, host: str = "127.0.0.1", names: Mapping[str, str] | None = None, outgoing: str = "127.0.0.3"
    ) -> None:
        super().__init__(host, names or {})
        self.url, self.outgoing = f"socks5h://{host}:{self.port}", outgoing
        told = {"host": host, "port": self.port, "run": self.run, "shut": SHUT, "outgoing": outgoing}
        (self.run / "dante.conf").write_text(_DANTE.format(**told))
        asked = ["openssl", "passwd", "-6", "-stdin"]
        password = subprocess.run(asked, input=PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
        accounts = f"{Path('/etc/passwd').read_text()}{USERNAME}:x:64999:65534::/nonexistent:/usr/sbin/nologin\n"
        etc = self.run / "etc"
        etc.mkdir()
        for name in _OF_ETC:
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
        return ["unshare", "--mount", "sh", "-c", _PRIVATELY.format(run=self.run, danted=_find("danted"))]


def why_not(kind: type[Squid] | type[Dante]) -> str:
    """Why this proxy cannot run here, with the way out; empty where it can."""
    if _find(kind.program) is None:
        return f"{kind.program} is not there: install Debian's package {kind.package}"
    return "dante needs root, for an account of its own" if kind is Dante and os.geteuid() != 0 else ""


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])
