"""How many connections, how much each requests, which streams are slow, and when to give up.

Pure: clock readings and byte counts are arguments, so that simulated network paths drive the same decisions as the
download does (tests/unit/engine/pacing/path_simulator.py).
"""

from modelferry.engine.pacing.busy_server import BusyServer
from modelferry.engine.pacing.concurrency import ConcurrencyController
from modelferry.engine.pacing.load import Load
from modelferry.engine.pacing.parts import MIN_PART, next_part_size
from modelferry.engine.pacing.patience import patience
from modelferry.engine.pacing.progress_deadline import ProgressDeadline
from modelferry.engine.pacing.slow_streams import (
    Stream,
    find_slow,
    find_stalled,
    find_steal_candidate,
    steal_offset,
    stream_meter,
)
from modelferry.values.rate_meter import RateMeter

__all__ = [
    "MIN_PART",
    "BusyServer",
    "ConcurrencyController",
    "Load",
    "ProgressDeadline",
    "RateMeter",
    "Stream",
    "find_slow",
    "find_stalled",
    "find_steal_candidate",
    "next_part_size",
    "patience",
    "steal_offset",
    "stream_meter",
]
