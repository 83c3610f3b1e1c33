"""What the checkpoint sidecar answers on ``GET /v1/progress``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

#: The sidecar's port for progress, health and metrics.
PORT = 9440

#: Files listed at most; those being worked on come first. A person cannot read more, and the status stays small.
MAX_FILES = 32


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file: ``done`` and ``size`` in bytes; ``state`` is pending, fetching, verifying, repairing or verified."""

    path: str
    size: int
    done: int
    state: str


UP, RECOVERING, DOWN, QUARANTINED = "Up", "Recovering", "Down", "Quarantined"
#: What a mirror may be, from the best to the worst.
MIRROR_STATES = (UP, RECOVERING, DOWN, QUARANTINED)


@dataclass(frozen=True, slots=True)
class MirrorProgress:
    """One mirror: ``state`` is Up, Down, Recovering or Quarantined; ``speed`` in bytes per second over the last
    seconds; ``fetched`` bytes and ``chunks`` that came from it, ``retries``: tries at it that brought nothing;
    ``fallbacks``: how often the work came to it since every mirror that is preferred was down; ``message``: why it is
    not Up, as the end of a sentence; ``untried``: it is held to be Up, but has not answered this download yet."""

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
    """A download as it stands.

    ``phase``: starting, recovering (chunks are hashed again), fetching, paused, verifying, repairing, published or
    failed.
    ``done``/``total``: bytes that are verified on disk, and all of them; ``received`` adds those in flight.
    ``speed``: bytes per second over the last seconds; ``eta``: seconds, None while nobody can tell.
    ``limit``: bytes per second that may be received now, 0 while nothing may, None where there is no limit.
    ``checksum``: pending, verified, mismatch, or unknown where the source declares no digest. ``fetched``: bytes that
    came over the network, ``chunks`` those that are done. ``mirrors``: the source and its mirrors, by preference.
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
        """JSON, one line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def decode(cls, text: str | bytes) -> Progress:
        """The progress in an answer; raises ValueError where it is none."""
        try:
            body: Any = json.loads(text)
            known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
            files = tuple(FileProgress(**item) for item in known.pop("files", ()))
            mirrors = tuple(MirrorProgress(**item) for item in known.pop("mirrors", ()))
            return cls(**known, files=files, mirrors=mirrors)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a progress message: {error}") from error
