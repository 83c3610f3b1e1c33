"""The prerequisites of the machine: Linux, root, and Debian packages, which are installed if they are missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import cache
from .shell import ClusterError, run

# Program or file -> the Debian package that contains it.
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
# Servers and proxies that tests download from.
SERVER_PACKAGES = {"nginx": "nginx-light", "squid": "squid", "danted": "dante-server", "openssl": "openssl"}
# A file system without symbolic links, hard links and upper-case names.
FILE_SYSTEM_PACKAGES = {"mkfs.exfat": "exfatprogs", "mount.exfat-fuse": "exfat-fuse", "losetup": "mount"}
METRICS_PACKAGES = {"promtool": "prometheus"}  # checks the exported metrics
SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin")  # not always in PATH, even for root
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = (
    "#!/bin/sh\n# Made by modelferry's tests/cluster while it installs packages: starts no service.\nexit 101\n"
)
INSTALL_TIMEOUT = 900  # seconds


def ensure(packages: dict[str, str]) -> None:
    """Installs missing `packages` (program -> Debian package); raises ClusterError with the command if it may not."""
    if not sys.platform.startswith("linux"):
        raise ClusterError("a test cluster needs Linux (for namespaces); on other systems, run: make kind")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_DIRECTORIES])
    if not _missing(packages):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(f"packages are missing; run as root: apt-get install {' '.join(_missing(packages))}")
    with cache.lock(cache.root() / "apt.lock"):
        missing = _missing(packages)
        if missing:
            _install(missing)
    if _missing(packages):
        raise ClusterError(f"apt-get installed {', '.join(missing)}, but the programs are still not found")


def ensure_root() -> None:
    """Raises ClusterError without root, which namespaces, mounts and cgroups need."""
    if os.geteuid() != 0:
        raise ClusterError("a test cluster needs root; run the same command as root (sudo -E ...)")


def _missing(packages: dict[str, str]) -> list[str]:
    return sorted({package for program, package in packages.items() if not shutil.which(program)})


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
    """Keeps Debian's maintainer scripts from starting installed services, such as a server on port 80. An existing
    policy of the machine is not changed."""
    ours = not POLICY.exists() or POLICY.read_text() == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
