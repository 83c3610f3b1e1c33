"""An agent's result, in the container's termination message (which Kubernetes truncates to 4096 bytes)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from modelferry.errors import ModelferryError
from modelferry.messages.earlier_revisions import RetainedRevision
from modelferry.messages.progress import MirrorProgress

_MAX_BYTES = 4096
#: Characters of a message that are kept: a JSON escape takes up to 6 bytes, and the other fields need 500.
_MAX_MESSAGE = 590


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an agent. ``ok``: it completed its work. Otherwise ``reason``, ``kind`` (transient, waiting or
    stalled) and ``message`` say why not. ``fetched`` counts bytes received over the network, ``retries`` chunks that
    were retried, ``rehashed`` chunks hashed again after an unclean boot. ``mirrors``: the last state of each, if the
    spec has mirrors. ``retained``: the earlier revisions on the disk."""

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
    retained: tuple[RetainedRevision, ...] = ()

    def encode(self) -> str:
        """JSON of at most 4096 bytes."""
        fields = {key: value for key, value in asdict(self).items() if value not in ("", 0, 0.0, ()) or key == "ok"}
        if self.mirrors:
            mirrors = [asdict(mirror).items() for mirror in self.mirrors]
            fields["mirrors"] = [{key: value for key, value in mirror if value not in ("", 0)} for mirror in mirrors]
        if len(self.message) > _MAX_MESSAGE:
            fields["message"] = self.message[: _MAX_MESSAGE - 1] + "…"
        text = json.dumps(fields, separators=(",", ":"))
        if len(text) <= _MAX_BYTES:
            return text
        return json.dumps(
            fields | {"file": "", "mirrors": [], "retained": [], "message": fields.get("message", "")[:300]}
        )

    @classmethod
    def decode(cls, text: str) -> Outcome | None:
        """The outcome in a termination message; None if it has none (the process was killed, for example)."""
        try:
            body: Any = json.loads(text)
            known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
            mirrors = tuple(MirrorProgress(**mirror) for mirror in known.pop("mirrors", ()))
            retained = tuple(RetainedRevision(**one) for one in known.pop("retained", ()))
            return cls(**known, mirrors=mirrors, retained=retained) if isinstance(known.get("ok"), bool) else None
        except (ValueError, AttributeError, TypeError):
            return None

    @classmethod
    def from_error(cls, error: ModelferryError, **fields: Any) -> Outcome:
        """The outcome of an agent that failed with `error`."""
        return cls(False, error.reason, error.kind, error.message, error.file or "", **fields)
