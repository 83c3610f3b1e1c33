"""Which mirror is asked: its health, its standing, what it brings, and what becomes of one that lied.

Pure: clock readings and byte counts are arguments, so that a simulator of lines drives the same decisions as the
fetcher does (tests/unit/engine/line_simulator.py).
"""

from modelferry.engine.mirrors.choice import Candidate, best, outdone, too_slow, worthwhile
from modelferry.engine.mirrors.health import CLOSED, HALF_OPEN, OPEN, QUARANTINED, Health
from modelferry.engine.mirrors.inquiry import Inquiry
from modelferry.engine.mirrors.model import Cap, Mirror, MirrorWork

__all__ = [
    "CLOSED",
    "HALF_OPEN",
    "OPEN",
    "QUARANTINED",
    "Candidate",
    "Cap",
    "Health",
    "Inquiry",
    "Mirror",
    "MirrorWork",
    "best",
    "outdone",
    "too_slow",
    "worthwhile",
]
