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


@dataclass(frozen=True, slots=True)
class Load:
    """Requests at once: for parts that the line is filled with, and for ``small`` ones."""

    large: int
    small: int

    def has_room(self, allowed: int, most: int) -> bool:
        """Is another request within what is ``allowed``, counted in large ones, on ``most`` connections?"""
        both = self.large + self.small
        return SMALL_ONES * self.large + self.small < SMALL_ONES * allowed and both < min(most, max(allowed, ENOUGH))

    @property
    def wants_small(self) -> bool:
        """Is a small one next? Half of what is allowed is theirs, so that large ones fill the line while small ones
        pass beside them, and neither waits for the others' end."""
        return self.small <= SMALL_ONES * self.large

    def fills(self, allowed: int) -> bool:
        """Do the large ones show what the line brings to so many connections? Small ones show the round trip. After
        there were to be fewer, those that are too many end one after the other."""
        both = self.large + self.small // SMALL_ONES
        return allowed <= both <= allowed + allowed // SPARE and 2 * self.large >= allowed
