"""How long a server that answers 429 or 503 gets no requests. Pure: clock readings are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from modelferry.http.backoff import believed_delay


@dataclass(frozen=True, slots=True)
class BusyServer:
    """The busy responses of a server ``in_row``: to the requests that were sent since its last good response.
    ``asked``: the shortest delay that they ask for, in seconds; ``last_at``: when the last one arrived."""

    in_row: int = 0
    asked: float = inf
    last_at: float = -inf

    def record_busy(self, now: float, delay: float) -> BusyServer:
        """After a busy response that asks for `delay` seconds."""
        return BusyServer(self.in_row + 1, min(self.asked, delay), now)

    def record_response(self, requested_at: float) -> BusyServer:
        """After a good response to a request that was sent at clock reading `requested_at`."""
        return BusyServer() if requested_at >= self.last_at else self

    @property
    def pause(self) -> float:
        """Seconds without requests after the last busy response."""
        return believed_delay(self.asked, self.in_row)
