"""The mirrors of a download: their health, which of them gets the next request, and which one served corrupt data.

Pure: clock readings and byte counts are arguments, so that simulated mirrors drive the same decisions as the download
does (tests/unit/engine/mirrors/mirror_simulator.py). `MirrorRegistry` has the state, with one method for each
observation; `MirrorSelector` decides on a frozen snapshot of it.
"""

from modelferry.engine.mirrors.attribution import CorruptionAttribution
from modelferry.engine.mirrors.breaker import BreakerState, CircuitBreaker
from modelferry.engine.mirrors.mirror_state import Mirror, MirrorLimit, MirrorSnapshot, MirrorState, RequestLimits
from modelferry.engine.mirrors.registry import MirrorRegistry
from modelferry.engine.mirrors.selector import LocationOption, MirrorSelector, SelectionRequest

__all__ = [
    "BreakerState",
    "CircuitBreaker",
    "CorruptionAttribution",
    "LocationOption",
    "Mirror",
    "MirrorLimit",
    "MirrorRegistry",
    "MirrorSelector",
    "MirrorSnapshot",
    "MirrorState",
    "RequestLimits",
    "SelectionRequest",
]
