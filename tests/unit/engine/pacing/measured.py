"""Controllers of network paths that were measured."""

from __future__ import annotations

from modelferry.engine.pacing import ConcurrencyController

MIB = 1 << 20


def measured_controller(rate: float, rtt: float = 0.02) -> ConcurrencyController:
    return ConcurrencyController.start(16).record_response_head(rtt).record_throughput(0.0, 4 * MIB, 4 * MIB / rate)
