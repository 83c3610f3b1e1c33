"""How long a server may send nothing in response to a request. Pure."""

from __future__ import annotations

from modelferry.http.transport.connection_key import Timeouts


def patience(usual: Timeouts, stalls: int, head_wait: float, left: float) -> Timeouts:
    """The timeouts of a request that got nothing in time `stalls` times, where heads take `head_wait` seconds lately,
    and `left` seconds are left of the progress deadline.

    A connection that broke silently is noticed after the `usual` timeouts. A server that needs longer for its first
    byte (a cache that fetches the file first) gets twice the time with each request.
    """
    return usual.extended(max(2.0**stalls, 2 * head_wait / usual.head), left)
