"""Small requests beside large ones. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: Small requests that count as one large request: each is a round trip, in which the network path and the server rest.
SMALL_PER_LARGE = 4
#: Connections beyond which no small request starts: with a round trip of 50 ms that is 640 files a second, more than a
#: disk commits, and each connection takes some 150 KB of memory.
MAX_SMALL_CONNECTIONS = 32
#: One in so many connections more than are allowed does not change the rate of all of them.
EXCESS_SHARE = 8
#: Connections with pipelined small requests, at most: the 72 requests on them hide a round trip of 80 ms up to 900
#: files a second, which is about what the processes can do, and each takes some 40 KB of memory.
MAX_PIPELINED_CONNECTIONS = 6


@dataclass(frozen=True, slots=True)
class Load:
    """Connections in use: for ``large`` parts that fill the network path, for one ``small`` request each, and
    ``pipelined`` ones with several small requests, which load the path about as a part does."""

    large: int = 0
    small: int = 0
    pipelined: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.large + other.large, self.small + other.small, self.pipelined + other.pipelined)

    @property
    def connections(self) -> int:
        """All of them."""
        return self.large + self.small + self.pipelined

    def has_capacity(self, allowed: int, most: int) -> bool:
        """Is another request within what is ``allowed``, counted in large ones, on ``most`` connections?"""
        fits = SMALL_PER_LARGE * (self.large + self.pipelined) + self.small < SMALL_PER_LARGE * allowed
        return fits and self.connections < min(most, max(allowed, MAX_SMALL_CONNECTIONS))

    @property
    def prefers_small(self) -> bool:
        """Should the next request be a small one? They get half of what is allowed, so that large ones fill the network
        path while small ones run beside them, and neither waits for the others to end."""
        return self.small + SMALL_PER_LARGE * self.pipelined <= SMALL_PER_LARGE * self.large

    @property
    def has_enough_small(self) -> bool:
        """Are enough small requests in flight, whatever capacity is left?"""
        return self.pipelined >= MAX_PIPELINED_CONNECTIONS

    def is_representative(self, allowed: int) -> bool:
        """Do the large requests measure what the network path carries with `allowed` connections? Small ones measure
        the round trip, and pipelined ones the processors. After the number was reduced, the excess connections end one
        after the other."""
        in_large = self.large + self.small // SMALL_PER_LARGE
        within = allowed <= in_large <= allowed + allowed // EXCESS_SHARE
        return not self.pipelined and within and 2 * self.large >= allowed
