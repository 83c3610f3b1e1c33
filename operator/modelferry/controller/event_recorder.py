"""Writes EventRecords as Kubernetes Events of the artifact."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from modelferry.controller.artifact_events import EventRecord
from modelferry.controller.facts import ArtifactFacts, Object
from modelferry.controller.kube import APIError, Kube
from modelferry.resource import API_VERSION, KIND, names

_log = logging.getLogger(__name__)

#: The API server rejects a longer message (core/v1 Event).
_MAX_MESSAGE = 1024


async def record(kube: Kube, artifact: ArtifactFacts, events: Iterable[EventRecord], now: float) -> None:
    """Write an Event for each of `events`. A failure is only logged: the status has the same information."""
    who = f"{artifact.namespace}/{artifact.name}"
    for number, event in enumerate(events):
        _log.info("%s: %s: %s", who, event.reason, event.message)
        try:
            await kube.create(event_object(artifact, event, now + number * 1e-6))
        except APIError as error:
            _log.warning("%s: the Event %s could not be written: %s", who, event.reason, error)


def event_object(artifact: ArtifactFacts, event: EventRecord, now: float) -> Object:
    """A core/v1 Event; its name contains the time, as in client-go's recorder."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    unique = f"{int(now * 1e6):x}{names.fingerprint([event.reason, event.message], 4)}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{artifact.name}.{unique}", "namespace": artifact.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": artifact.name,
            "namespace": artifact.namespace,
            "uid": artifact.uid,
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": event.message[:_MAX_MESSAGE],
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": "modelferry"},
        "reportingComponent": "modelferry.dev/operator",
        "reportingInstance": "modelferry",
    }
