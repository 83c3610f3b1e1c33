"""How many connections, how much each is asked for, how long to wait, when to give up.

Pure: clock readings, byte counts and random numbers are arguments, so that a simulator of lines drives the same
decisions as the fetcher does (tests/unit/engine/line_simulator.py).
"""

from modelferry.engine.pace.connections import Pace
from modelferry.engine.pace.load import Load
from modelferry.engine.pace.parts import LEAST, next_part
from modelferry.engine.pace.patience import FIRST_DELAY, MAX_DELAY, Budget, backoff
from modelferry.engine.pace.streams import Meter, Stream, cut_of, laggards, silent, victim

__all__ = [
    "FIRST_DELAY",
    "LEAST",
    "MAX_DELAY",
    "Budget",
    "Load",
    "Meter",
    "Pace",
    "Stream",
    "backoff",
    "cut_of",
    "laggards",
    "next_part",
    "silent",
    "victim",
]
