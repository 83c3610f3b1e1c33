"""One artifact, once: observe, plan, apply, report. All memory is in the cluster: a restart goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelferry.controller import kube_events, report
from modelferry.controller.apply import carry_out
from modelferry.controller.facts import Object, Observed
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.observe import Observer
from modelferry.controller.operator_metrics import Metrics
from modelferry.controller.plan import plan
from modelferry.controller.settings import Settings
from modelferry.controller.states import REFUSED, Blocker, Plan
from modelferry.controller.work_queue import Key
from modelferry.resource import API_VERSION, KIND


class Reconciler:
    """`clock` gives seconds of the epoch. ``metrics`` is what it told of itself."""

    def __init__(self, kube: Kube, observer: Observer, settings: Settings, clock: Callable[[], float]) -> None:
        self._kube, self._observer, self._settings, self._clock = kube, observer, settings, clock
        self._written: dict[Key, float] = {}
        self.metrics = Metrics()

    async def reconcile(self, key: Key) -> float | None:
        """One look. Returns seconds until the next, None where the artifact is gone. Raises APIError."""
        began = self._clock()
        try:
            again = await self._reconcile(key)
        except Exception:
            self.metrics.reconciled(self._clock() - began, ok=False)
            raise
        self.metrics.reconciled(self._clock() - began, ok=True)
        return again

    async def _reconcile(self, key: Key) -> float | None:
        seen = await self._observer.look(*key)
        if seen is None:
            self._written.pop(key, None)
            self.metrics.forget(key)
            return None
        made = plan(seen, self._settings, self._clock())
        try:
            await carry_out(self._kube, seen, made.actions)
        except APIError as error:
            if error.refused:
                await self._report(key, seen, refused(made, error))
            raise
        if made == Plan() or (made.actions and not made.states and not made.hold):
            return made.again if made.again is not None else self._settings.resync
        held_back = await self._report(key, seen, made)
        times = [time for time in (made.again, held_back, self._settings.resync) if time is not None]
        return min(times)

    async def _report(self, key: Key, seen: Observed, made: Plan) -> float | None:
        """Write status and Events where something changed; amounts alone once an interval (else: the seconds left)."""
        now = self._clock()
        after = report.status(seen, made, now)
        self.metrics.saw(key, after)
        changed = report.differs(seen.status, after)
        left = self._written.get(key, 0.0) + self._settings.status_interval - now
        if changed and left > 0 and not report.turned(seen.status, after):
            await kube_events.emit(self._kube, seen, made.notices, now)
            return left
        if changed:
            await self._kube.apply(_document(seen, after), "status")
            self._written[key] = now
        found = [*made.notices, *report.notices(seen.status, after)]
        for notice in found:
            if notice.reason == "FellBackToSource":
                self.metrics.fell_back()
        await kube_events.emit(self._kube, seen, found, now)
        return None


def refused(made: Plan, error: APIError) -> Plan:
    """The plan as it stands when the API server does not let it be carried out (a quota, an admission policy)."""
    message = f"the API server refuses what is needed: {error}; it is tried again"
    return replace(made, hold=Blocker(REFUSED, message), notices=())


def _document(seen: Observed, status: Object) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": seen.name, "namespace": seen.namespace, "uid": seen.uid},
        "status": status,
    }
