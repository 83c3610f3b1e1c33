"""Reconciles one artifact once: observe, plan, apply, report. All state is in the cluster, so a restart loses none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelferry.controller import artifact_status, event_recorder
from modelferry.controller.apply import apply_actions
from modelferry.controller.artifact_events import artifact_events
from modelferry.controller.facts import ArtifactFacts, Object, Observed
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.observe import Observer
from modelferry.controller.operator_metrics import Metrics
from modelferry.controller.plan import plan
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import REFUSED, Blocker, Plan, soonest
from modelferry.controller.work_queue import Key, Refused
from modelferry.resource import API_VERSION, KIND


class Reconciler:
    """`clock` gives seconds of the epoch. ``metrics`` is updated by each reconciliation."""

    def __init__(self, kube: Kube, observer: Observer, settings: Settings, clock: Callable[[], float]) -> None:
        self._kube, self._observer, self._settings, self._clock = kube, observer, settings, clock
        self._last_write: dict[Key, float] = {}
        self.metrics = Metrics()

    async def reconcile(self, key: Key) -> float | None:
        """One reconciliation. Returns seconds until the next, None if the artifact is gone. Raises APIError, and
        Refused if the API server rejects an object."""
        began = self._clock()
        try:
            requeue_after = await self._reconcile(key)
        except Exception:
            self.metrics.reconciled(self._clock() - began, ok=False)
            raise
        self.metrics.reconciled(self._clock() - began, ok=True)
        return requeue_after

    async def _reconcile(self, key: Key) -> float | None:
        observed = await self._observer.observe(*key)
        if observed is None:
            self._last_write.pop(key, None)
            self.metrics.forget(key)
            return None
        made = plan(observed, self._settings, self._clock())
        try:
            await apply_actions(self._kube, observed.artifact, made.actions)
        except APIError as error:
            if not error.is_rejection:
                raise
            await self._report(key, observed, refused(made, error))
            raise Refused(str(error)) from error
        if made == Plan() or (made.actions and not made.copies and not made.blocker):
            return made.requeue_after if made.requeue_after is not None else self._settings.resync
        postponed = await self._report(key, observed, made)
        return soonest([made.requeue_after, postponed, self._settings.resync])

    async def _report(self, key: Key, observed: Observed, made: Plan) -> float | None:
        """Write the status if it changed, and record the Events. Amounts alone are written once per interval: returns
        the seconds until they may be."""
        now = self._clock()
        artifact = observed.artifact
        before, after = artifact.last_status, artifact_status.build(observed, made, now)
        self.metrics.update(key, after)
        events = artifact_events(observed, made, after, now)
        self.metrics.source_fallbacks(sum(event.reason == "FellBackToSource" for event in events))
        changed = artifact_status.needs_write(before, after)
        left = self._last_write.get(key, 0.0) + self._settings.status_interval - now
        postponed = changed and left > 0 and not artifact_status.state_changed(before, after)
        if changed and not postponed:
            await self._kube.apply(_status_document(artifact, after), "status")
            self._last_write[key] = now
        if not observed.namespace_terminating:
            await event_recorder.record(self._kube, artifact, events, now)
        return left if postponed else None


def refused(made: Plan, error: APIError) -> Plan:
    """`made` after the API server rejected one of its actions (a quota, an admission policy): none counts as done."""
    message = f"the API server rejects a required object: {error}; it is retried"
    return replace(made, blocker=Blocker(REFUSED, message), actions=())


def _status_document(artifact: ArtifactFacts, status: Object) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": artifact.name, "namespace": artifact.namespace, "uid": artifact.uid},
        "status": status,
    }
