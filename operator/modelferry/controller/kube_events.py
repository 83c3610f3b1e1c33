"""Notices into Kubernetes Events of the artifact."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from modelferry.controller.actions import EventRecord
from modelferry.controller.facts import Object, Observed
from modelferry.controller.kube import APIError, Kube
from modelferry.resource import API_VERSION, KIND, names

_log = logging.getLogger(__name__)

#: The API server refuses a longer message (core/v1 Event).
_MAX_MESSAGE = 1024


async def emit(kube: Kube, seen: Observed, notices: Iterable[EventRecord], now: float) -> None:
    """Write an Event for each notice. One that cannot be written is logged: the status says the same."""
    for number, notice in enumerate(notices):
        _log.info("%s/%s: %s: %s", seen.namespace, seen.name, notice.reason, notice.message)
        try:
            await kube.create(event(seen, notice, now + number * 1e-6))
        except APIError as error:
            _log.warning("%s/%s: the Event %s was not written: %s", seen.namespace, seen.name, notice.reason, error)


def event(seen: Observed, notice: EventRecord, now: float) -> Object:
    """A core/v1 Event; the name holds the time, as client-go's recorder does it."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    unique = f"{int(now * 1e6):x}{names.fingerprint([notice.reason, notice.message], 4)}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{seen.name}.{unique}", "namespace": seen.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": seen.name,
            "namespace": seen.namespace,
            "uid": seen.uid,
        },
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "message": notice.message[:_MAX_MESSAGE],
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": "modelferry"},
        "reportingComponent": "modelferry.dev/operator",
        "reportingInstance": "modelferry",
    }
