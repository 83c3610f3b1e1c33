"""An agent's result, left in the container's termination message (which Kubernetes caps at 4096 bytes)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from modelferry.errors import ModelferryError
from modelferry.messages.progress import MirrorProgress

_LIMIT = 4096
#: Characters of a message that are kept: JSON escapes take up to 6 bytes for one, and the other fields need 500.
_MESSAGE = 590


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an agent ended. ``ok``: its work is whole. Otherwise ``reason``, ``kind`` (transient, waiting, stalled) and
    ``message`` say why. ``fetched`` counts bytes that came over the network, ``retries`` the chunks tried again,
    ``rehashed`` the chunks hashed again after an unclean boot. ``mirrors``: how each ended, where there are several."""

    ok: bool
    reason: str = ""
    kind: str = ""
    message: str = ""
    file: str = ""
    revision: str = ""
    bytes: int = 0
    fetched: int = 0
    retries: int = 0
    rehashed: int = 0
    seconds: float = 0.0
    mirrors: tuple[MirrorProgress, ...] = ()

    def encode(self) -> str:
        """JSON of at most 4096 bytes."""
        fields = {key: value for key, value in asdict(self).items() if value not in ("", 0, 0.0, ()) or key == "ok"}
        if self.mirrors:
            told = [asdict(mirror).items() for mirror in self.mirrors]
            fields["mirrors"] = [{key: value for key, value in mirror if value not in ("", 0)} for mirror in told]
        if len(self.message) > _MESSAGE:
            fields["message"] = self.message[: _MESSAGE - 1] + "…"
        text = json.dumps(fields, separators=(",", ":"))
        if len(text) <= _LIMIT:
            return text
        return json.dumps(fields | {"file": "", "mirrors": [], "message": fields.get("message", "")[:300]})

    @classmethod
    def decode(cls, text: str) -> Outcome | None:
        """The outcome in a termination message; None where there is none (the process was killed, say)."""
        try:
            body: Any = json.loads(text)
            known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
            mirrors = tuple(MirrorProgress(**mirror) for mirror in known.pop("mirrors", ()))
            return cls(**known, mirrors=mirrors) if isinstance(known.get("ok"), bool) else None
        except (ValueError, AttributeError, TypeError):
            return None

    @classmethod
    def of(cls, error: ModelferryError, **fields: Any) -> Outcome:
        """The outcome that an error makes."""
        return cls(False, error.reason, error.kind, error.message, error.file or "", **fields)
