"""Which mirror is asked: its health, its standing, what it brings, and what becomes of one that lied.

Pure: clock readings and byte counts are arguments, so that a simulator of lines drives the same decisions as the
fetcher does (tests/unit/engine/pacing/path_simulator.py).
"""

from modelferry.engine.mirrors.attribution import CorruptionAttribution
from modelferry.engine.mirrors.breaker import CLOSED, HALF_OPEN, OPEN, QUARANTINED, CircuitBreaker
from modelferry.engine.mirrors.mirror_state import Mirror, MirrorLimit, MirrorState
from modelferry.engine.mirrors.selection import Candidate, best, outdone, too_slow, worthwhile

__all__ = [
    "CLOSED",
    "HALF_OPEN",
    "OPEN",
    "QUARANTINED",
    "Candidate",
    "CircuitBreaker",
    "CorruptionAttribution",
    "Mirror",
    "MirrorLimit",
    "MirrorState",
    "best",
    "outdone",
    "too_slow",
    "worthwhile",
]
