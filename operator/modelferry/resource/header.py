"""``headers`` of the spec and of mirrors: header fields that are added to requests."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.resource.secret import SecretKey

#: The CRD has the same limit.
MAX_HEADERS = 16


@dataclass(frozen=True, slots=True)
class Header:
    """One header field. Its value is ``value``, or in ``secret``; exactly one of both is set."""

    name: str
    value: str = field(default="", repr=False)
    secret: SecretKey | None = None
