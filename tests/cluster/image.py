"""The images of the nodes: pause, and the project's image, built from its Dockerfile."""

from __future__ import annotations

import configparser
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import binaries, cache, prerequisites
from .node_files import PAUSE_IMAGE
from .shell import Word, run

PROJECT = Path(__file__).parent.parent.parent
SOURCES = (".dockerignore", "Dockerfile", "LICENSE", "README.md", "operator", "pyproject.toml", "requirements.lock")
NAME = "localhost/modelferry"
SUITE = "bookworm"  # as in the Dockerfile's default base
BASE_PACKAGES = ("ca-certificates", "python3")
BUILD_BASE_PACKAGES = (*BASE_PACKAGES, "python3-venv")
UNUSED = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
BASE_TIMEOUT = 900  # seconds
BUILD_TIMEOUT = 1200  # seconds
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PIP_MOUNT = "/mnt"  # exists in every base image, so that the mount leaves nothing behind
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")


@dataclass(frozen=True)
class Image:
    """An image: its reference in pods, and its tar file."""

    reference: str
    tar: Path


def project_image() -> Image:
    """The project's image, built from its Dockerfile if an input has changed."""
    prerequisites.ensure_root()
    prerequisites.ensure(prerequisites.BUILD_PACKAGES)
    key = cache.key_of(*(PROJECT / source for source in SOURCES), *BASE_PACKAGES, *BUILD_BASE_PACKAGES)
    reference = f"{NAME}:{key}"
    directory = cache.built("image", key, lambda directory: _build(reference, directory / "image.tar"))
    return Image(reference, directory / "image.tar")


def pause() -> Path:
    """The image of the process that holds a pod's namespaces."""
    key = cache.key_of(binaries.TESTKUBE_SOURCE, PAUSE_IMAGE)
    return cache.built("pause", key, _build_pause) / "image.tar"


def _build_pause(directory: Path) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, "pause", (binaries.kubernetes() / "pause").read_bytes(), 0o755)
    _write_image(directory / "image.tar", PAUSE_IMAGE, layer.getvalue(), ["/pause"])


def _build(reference: str, tar: Path) -> None:
    bases = {"BASE": _base(BASE_PACKAGES), "BUILD_BASE": _base(BUILD_BASE_PACKAGES)}
    with tempfile.TemporaryDirectory() as scratch:
        buildah = _Buildah(cache.root() / "buildah", Path(scratch))
        arguments: list[Word] = []
        for argument, base in bases.items():
            buildah.run("pull", "--quiet", "--policy", "missing", f"docker-archive:{base.tar}")
            arguments += ["--build-arg", f"{argument}={base.reference}"]
        arguments += _package_client(Path(scratch) / "pip")
        # Isolation by chroot and the machine's network need neither a user namespace nor iptables.
        options = ["--isolation", "chroot", "--network", "host", "--pull-never", "--layers", "--quiet"]
        buildah.run("build", *options, *arguments, "--tag", reference, PROJECT)
        buildah.run("push", "--quiet", reference, f"docker-archive:{tar}:{reference}")
        for image in buildah.run("images", "--noheading", "--format", "{{.Name}}:{{.Tag}}").split():
            if image.startswith(f"{NAME}:") and image != reference:  # otherwise the store grows with each build
                buildah.run("rmi", image)


@dataclass(frozen=True)
class _Buildah:
    """buildah with its own store. Mounts and their records last for one command, so that a failed or killed build
    leaves none on the machine."""

    store: Path
    scratch: Path

    def run(self, *arguments: Word) -> str:
        """Runs one buildah command and returns what it printed."""
        prefix: list[Word] = ["unshare", "--mount", "buildah", "--root", self.store, "--runroot", self.scratch / "run"]
        return run([*prefix, *arguments], timeout=BUILD_TIMEOUT)


def _package_client(directory: Path) -> list[str]:
    """Arguments that give pip in the build this machine's settings and CA bundle, in a directory that is mounted during
    the build."""
    directory.mkdir()
    settings = configparser.RawConfigParser()
    settings.read(["/etc/pip.conf", Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"])
    settings.read(os.environ.get("PIP_CONFIG_FILE", ""))
    chosen = configparser.RawConfigParser()
    chosen["global"] = {}
    for key in PIP_KEYS:
        value = os.environ.get(f"PIP_{key.upper().replace('-', '_')}") or settings.get("global", key, fallback=None)
        if value:
            chosen["global"][key] = value
    authorities = Path(os.environ.get("PIP_CERT") or settings.get("global", "cert", fallback=None) or CA_BUNDLE)
    if authorities.exists():
        shutil.copy(authorities, directory / "ca.crt")
        chosen["global"]["cert"] = f"{PIP_MOUNT}/ca.crt"
    with (directory / "pip.conf").open("w") as file:
        chosen.write(file)
    return ["--volume", f"{directory}:{PIP_MOUNT}:ro", "--build-arg", f"PIP_CONFIG_FILE={PIP_MOUNT}/pip.conf"]


def _base(packages: tuple[str, ...]) -> Image:
    """A base image with Debian's essential packages and the given ones, without documentation, like debian:*-slim."""
    key = cache.key_of(SUITE, *packages, *UNUSED)
    reference = f"{NAME}-base:{key}"
    directory = cache.built("base", key, lambda directory: _build_base(packages, reference, directory))
    return Image(reference, directory / "image.tar")


def _build_base(packages: tuple[str, ...], reference: str, directory: Path) -> None:
    root = directory / "root.tar"
    excluded = [f"--dpkgopt=path-exclude={path}" for path in UNUSED]
    command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}"]
    run([*command, *excluded, SUITE, root], timeout=BASE_TIMEOUT)
    _write_image(directory / "image.tar", reference, root.read_bytes(), ["/bin/sh"])
    root.unlink()


def _write_image(file: Path, reference: str, layer: bytes, entrypoint: list[str]) -> None:
    """Writes an image of one layer (a tar file's content) in the format of `docker save`."""
    config = json.dumps(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {
                "Entrypoint": entrypoint,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "history": [{"created_by": "tests/cluster/image.py"}],  # buildah counts these
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(file, "w") as tar:
        _add(tar, name, config)
        _add(tar, "layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
