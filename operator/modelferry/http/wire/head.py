"""A response's head, how its body is framed, and the error of a peer that breaks HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.http.wire.behavior import ServerBehavior


class ProtocolError(Exception):
    """The peer broke HTTP. ``behavior`` names how; ``message`` is the end of a sentence that begins with the location,
    without values of fields."""

    def __init__(self, behavior: ServerBehavior, message: str) -> None:
        super().__init__(message)
        self.behavior = behavior
        self.message = message


@dataclass(frozen=True, slots=True)
class Head:
    """A response's status line and fields; names are lower case, values latin-1 without outer white space."""

    status: int
    version: tuple[int, int]
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Every value of field `name`."""
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        """The values of field `name` as one list, which RFC 9110 section 5.3 makes equal; None where there is none."""
        values = self.all(name)
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Framing:
    """How a body ends: after ``length`` bytes, by chunked coding, or with the connection."""

    kind: str  # "length", "chunked" or "close"
    length: int = 0
