"""What the machine must have: Linux, root and some Debian packages, which are installed when they are missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import cache
from .shell import ClusterError, run

# A program (or a file) that shows that a package is there -> the Debian package that brings it.
RUN_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "ip": "iproute2",
    "iptables": "iptables",
    "openssl": "openssl",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
    "nsenter": "util-linux",
}
BUILD_PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
# Not for a cluster: the servers that tests let it download from, and the proxies between.
ORIGIN_PACKAGES = {"nginx": "nginx-light", "squid": "squid", "danted": "dante-server", "openssl": "openssl"}
SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin")  # not on everybody's PATH, not even on every root's
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = (
    "#!/bin/sh\n# Made by modelferry's tests/cluster while it installs packages: starts no service.\nexit 101\n"
)
INSTALL_TIMEOUT = 900  # seconds


def ensure(packages: dict[str, str]) -> None:
    """Has `packages` (program -> Debian package) on the machine, or says in one line what to install."""
    if not sys.platform.startswith("linux"):
        raise ClusterError("a cluster needs Linux (its network and mount namespaces); elsewhere: make kind")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_DIRECTORIES])
    if not _missing(packages):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(f"to install, as root: apt-get install {' '.join(_missing(packages))}")
    with cache.lock(cache.root() / "apt.lock"):
        missing = _missing(packages)
        if missing:
            _install(missing)
    if _missing(packages):
        raise ClusterError(f"apt-get installed {', '.join(missing)}, but they are still not found")


def ensure_root() -> None:
    """Namespaces, mounts and cgroups of a cluster need root."""
    if os.geteuid() != 0:
        raise ClusterError("a cluster needs root: run the same command as root (sudo -E ...)")


def _missing(packages: dict[str, str]) -> list[str]:
    return sorted({package for sign, package in packages.items() if not shutil.which(sign)})


def _install(packages: list[str]) -> None:
    print(f"cluster: installing {' '.join(packages)} ...", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ["-o", "DPkg::Lock::Timeout=600"]
    with _no_service_starts():
        run(["apt-get", *wait, "-q", "update"], timeout=INSTALL_TIMEOUT, env=env)
        install = ["apt-get", *wait, "-q", "-y", "--no-install-recommends", "install", *packages]
        run(install, timeout=INSTALL_TIMEOUT, env=env)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keeps Debian's maintainer scripts from starting what they install (a containerd of the machine's own, a server
    on port 80). A policy that the machine has already is left as it is; ours, left by a killed install, is replaced."""
    ours = not POLICY.exists() or POLICY.read_text() == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
