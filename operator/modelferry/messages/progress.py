"""The checkpoint sidecar's response to ``GET /v1/progress``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

#: The sidecar's port for progress, health and metrics.
PORT = 9440

#: The maximum number of listed files, active ones first: more would be unreadable, and make the message large.
MAX_FILES = 32


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file: ``done`` and ``size`` in bytes; ``state`` is pending, fetching, verifying, repairing, verified, or
    complete if no digest is declared."""

    path: str
    size: int
    done: int
    state: str


UP, RECOVERING, DOWN, QUARANTINED = "Up", "Recovering", "Down", "Quarantined"
#: The states of a mirror's circuit breaker, the best first.
MIRROR_STATES = (UP, RECOVERING, DOWN, QUARANTINED)


@dataclass(frozen=True, slots=True)
class MirrorProgress:
    """One mirror: ``state`` is Up, Down, Recovering or Quarantined; ``speed`` in bytes per second over the last
    seconds; ``fetched`` bytes and ``chunks`` received from it; ``retries``: failed attempts at it; ``fallbacks``: how
    often the download fell back to it because all preferred mirrors were down; ``message``: why it is not Up, as the
    end of a sentence; ``untried``: it is considered Up, but has not answered this download yet."""

    name: str
    state: str = UP
    speed: float = 0.0
    fetched: int = 0
    chunks: int = 0
    retries: int = 0
    fallbacks: int = 0
    message: str = ""
    untried: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """The current state of a download.

    ``phase``: starting, recovering (chunks are hashed again), fetching, paused, verifying, repairing, published or
    failed.
    ``done``/``total``: bytes that are hashed and durable on the disk, and all bytes; ``received`` adds those in flight.
    ``speed``: bytes per second over the last seconds; ``eta``: seconds, None while unknown.
    ``limit``: bytes per second that may be received now, 0 while nothing may, None if there is no limit.
    ``checksum``: pending, verified, mismatch, or unknown where the source declares no digest. ``fetched``: bytes
    received over the network; ``chunks``: the number of done chunks. ``mirrors``: the source and its mirrors, by
    preference.
    """

    phase: str
    revision: str = ""
    total: int = 0
    done: int = 0
    received: int = 0
    speed: float = 0.0
    eta: float | None = None
    connections: int = 0
    limit: int | None = None
    retries: int = 0
    rehashed: int = 0
    files_total: int = 0
    files_done: int = 0
    checksum: str = "pending"
    message: str = ""
    files: tuple[FileProgress, ...] = field(default=())
    fetched: int = 0
    chunks: int = 0
    mirrors: tuple[MirrorProgress, ...] = ()

    def encode(self) -> str:
        """JSON in one line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def decode(cls, text: str | bytes) -> Progress:
        """The progress in a response; raises ValueError if it has none."""
        try:
            body: Any = json.loads(text)
            known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
            files = tuple(FileProgress(**item) for item in known.pop("files", ()))
            mirrors = tuple(MirrorProgress(**item) for item in known.pop("mirrors", ()))
            return cls(**known, files=files, mirrors=mirrors)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a progress message: {error}") from error
