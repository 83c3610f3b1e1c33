"""Small requests beside large ones. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: Small requests that are worth a large one: each is a round trip, in which the line and the server rest.
SMALL_ONES = 4
#: Connections beyond which small ones take none: with a round trip of 50 ms that is 640 files a second, more than a
#: disk commits, and each connection takes some 150 KB of memory.
ENOUGH = 32
#: One in so many connections more than are allowed does not change what all of them bring.
SPARE = 8
#: Connections that small ones share, at most: the 72 requests on them hide a round trip of 80 ms up to 900 files a
#: second, which is about what the processes can do, and each takes some 40 KB of memory.
ENOUGH_SHARED = 6


@dataclass(frozen=True, slots=True)
class Load:
    """Connections at once: for parts that the line is filled with, for a ``small`` request each, and ``shared`` by
    several small ones, which load the line about as a part does."""

    large: int = 0
    small: int = 0
    shared: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.large + other.large, self.small + other.small, self.shared + other.shared)

    @property
    def connections(self) -> int:
        """All of them."""
        return self.large + self.small + self.shared

    def has_room(self, allowed: int, most: int) -> bool:
        """Is another request within what is ``allowed``, counted in large ones, on ``most`` connections?"""
        room = SMALL_ONES * (self.large + self.shared) + self.small < SMALL_ONES * allowed
        return room and self.connections < min(most, max(allowed, ENOUGH))

    @property
    def wants_small(self) -> bool:
        """Is a small one next? Half of what is allowed is theirs, so that large ones fill the line while small ones
        pass beside them, and neither waits for the others' end."""
        return self.small + SMALL_ONES * self.shared <= SMALL_ONES * self.large

    @property
    def crowded(self) -> bool:
        """Are enough small ones under way, whatever there is room for?"""
        return self.shared >= ENOUGH_SHARED

    def fills(self, allowed: int) -> bool:
        """Do the large ones show what the line brings to so many connections? Small ones show the round trip, and
        where they share connections, what the processors do. After there were to be fewer, those that are too many end
        one after the other."""
        both = self.large + self.small // SMALL_ONES
        within = allowed <= both <= allowed + allowed // SPARE
        return not self.shared and within and 2 * self.large >= allowed
