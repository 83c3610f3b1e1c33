"""Metrics in the Prometheus text exposition format 0.0.4. Pure.

Not with prometheus_client: the library would cost the sidecar more memory than this page of code; decision 22.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family: ``kind`` is counter, gauge or histogram; ``labels`` are the label names, in order."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a family, with one value for each of its labels. ``suffix`` and ``bucket`` are for histograms."""

    family: Family
    value: float
    labels: tuple[str, ...] = ()
    suffix: str = ""
    bucket: str = ""


def exposition(families: Sequence[Family], samples: Iterable[Sample]) -> str:
    """All families in order, with their samples; a family without samples is omitted."""
    by_family: dict[str, list[Sample]] = {}
    for sample in samples:
        by_family.setdefault(sample.family.name, []).append(sample)
    lines = []
    for family in families:
        if found := by_family.get(family.name):
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
            lines += [_line(sample) for sample in found]
    return "\n".join(lines) + "\n"


def histogram(family: Family, buckets: Mapping[float, int], total: float, count: int) -> list[Sample]:
    """The samples of a histogram without labels; `buckets` are cumulative counts by upper bound."""
    found = [Sample(family, value, suffix="_bucket", bucket=f"{bound:g}") for bound, value in buckets.items()]
    found.append(Sample(family, count, suffix="_bucket", bucket="+Inf"))
    return [*found, Sample(family, total, suffix="_sum"), Sample(family, count, suffix="_count")]


def _line(sample: Sample) -> str:
    pairs = list(zip(sample.family.labels, sample.labels, strict=True))
    pairs += [("le", sample.bucket)] if sample.bucket else []
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    number = int(sample.value) if float(sample.value).is_integer() else sample.value
    name = sample.family.name + sample.suffix
    return f"{name}{{{labels}}} {number}" if labels else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
