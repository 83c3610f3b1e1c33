"""How many connections, how much each is asked for, how long to wait, when to give up.

Pure: clock readings, byte counts and random numbers are arguments, so that a simulator of lines drives the same
decisions as the fetcher does (tests/unit/engine/line_simulator.py).
"""

from modelferry.engine.pacing.backoff import FIRST_DELAY, MAX_DELAY, ProgressDeadline, backoff
from modelferry.engine.pacing.concurrency import ConcurrencyController
from modelferry.engine.pacing.load import Load
from modelferry.engine.pacing.parts import LEAST, next_part
from modelferry.engine.pacing.slow_streams import Meter, Stream, cut_of, find_slow, silent, victim

__all__ = [
    "FIRST_DELAY",
    "LEAST",
    "MAX_DELAY",
    "ConcurrencyController",
    "Load",
    "Meter",
    "ProgressDeadline",
    "Stream",
    "backoff",
    "cut_of",
    "find_slow",
    "next_part",
    "silent",
    "victim",
]
