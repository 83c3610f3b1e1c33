"""A target directory, and downloads into it by the engine in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.engine.download.coordinator import DownloadCoordinator, Result, Settings
from modelferry.engine.mirrors import Mirror
from modelferry.errors import Stalled, Transient
from modelferry.http.address_policy import AddressPolicy
from modelferry.http.auth.credentials import ANONYMOUS, Credential
from modelferry.http.auth.presigned import Presigner
from modelferry.http.client import HTTPClient
from modelferry.http.proxy.proxies import DIRECT, Proxies
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.transport.throttle import Throttle
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed
from modelferry.messages import Progress
from origin.server import HostileOrigin

#: Bytes of a chunk in tests within one process: smaller than in production, to save time.
CHUNK = 64 * 1024

#: Creates a misbehaving TLS origin: ``async with serve({path: bytes}, rules=[…]) as origin``.
Serve = Callable[..., HostileOrigin]


def entry(path: str, content: bytes, *urls: str, algorithm: str | None = "sha256", validator: str = "") -> FileEntry:
    """A file of a manifest, with the declared size and digest; its locations are named m0, m1, …"""
    digest = Digest(algorithm, hashlib.new(algorithm, content).hexdigest()) if algorithm else None
    locations = tuple(Location(url, f"m{number}") for number, url in enumerate(urls))
    return FileEntry(path, len(content), digest, locations, validator)


@dataclass
class DownloadHarness:
    """A target directory, and the settings of downloads into it. ``progress`` and ``met`` are those of the last
    download."""

    directory: Path
    ca_file: Path
    limits: Timeouts = field(default_factory=lambda: Timeouts(connect=5.0, head=2.0, stall=2.0, floor=1))
    connections: int = 4
    progress_deadline: float = 5.0
    boot_id: str = "boot-1"
    allow_plain_http: bool = False
    credential: Credential = ANONYMOUS
    mirrors: tuple[Mirror, ...] = ()
    presigners: dict[str, Presigner] = field(default_factory=dict)
    proxies: Proxies = DIRECT
    mirror_proxies: dict[str, Proxies] = field(default_factory=dict)
    throttle: Throttle | None = None
    address_policy: AddressPolicy = field(default_factory=AddressPolicy)
    progress: Progress | None = None
    pins: tuple[str, ...] = ()
    #: The server behaviors of responses that were not used.
    met: Sequence[int] = field(default_factory=list)

    async def pull(self, *files: FileEntry) -> Result:
        """Download `files` as one manifest; raises the engine's errors."""
        return await self.pull_manifest(content_addressed(files))

    async def pull_manifest(self, manifest: Manifest) -> Result:
        """Download `manifest`; raises the engine's errors."""
        checkpoint = LocalCheckpoint(self.directory, boot_id=self.boot_id)
        settings = Settings(self.connections, self.allow_plain_http, self.progress_deadline, self.mirrors)
        route = Route(client_context(self.ca_file, pins=self.pins), self.credential, self.proxies, self.address_policy)
        others = {name: replace(route, presigner=presigner) for name, presigner in self.presigners.items()}
        others |= {
            name: replace(others.get(name, route), proxies=proxies) for name, proxies in self.mirror_proxies.items()
        }
        http_client = HTTPClient(Routes(route, others), self.limits, throttle=self.throttle)
        # Short waits, without randomness.
        fetcher = DownloadCoordinator(manifest, checkpoint, http_client, settings, jitter=lambda: -0.98)
        try:
            return await fetcher.run()
        finally:
            self.met = fetcher.stats.behaviors
            self.progress = checkpoint.progress()
            await checkpoint.close()

    async def pull_with_restarts(self, *files: FileEntry) -> None:
        """Download `files`; start again after each failure, as a user would. A failed download publishes nothing."""
        for _ in range(20):
            try:
                await self.pull(*files)
                return
            except (Stalled, Transient):
                assert not self.published

    def read(self, path: str) -> bytes:
        """The content of a published file."""
        return (self.directory / "current" / path).read_bytes()

    @property
    def published(self) -> bool:
        """Whether files are visible to consumers."""
        return (self.directory / "current").exists()

    def corrupt(self, where: Path, offset: int) -> None:
        """Change a byte of a file on the disk."""
        with where.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 0xFF]))

    def incoming(self, path: str) -> Path:
        """The file at `path` in the revision that is being downloaded."""
        (revision,) = (self.directory / ".modelferry" / "incoming").iterdir()
        return revision / path
