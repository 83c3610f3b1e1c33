"""Results as tables: on the terminal, and as docs/benchmarks.md. Pure: results in, text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from benchmarks.result import Result
from benchmarks.stats import MB, OURS, Row, Spread

#: A table: its head, and its body.
Table = tuple[Sequence[str], Sequence[Sequence[str]]]

#: Stands where there is no number.
_NOTHING = "-"

_INTRODUCTION = """\
# Benchmarks

<!-- Made by `python -m benchmarks report` from benchmarks/results/latest.json. -->

Modelferry beside the tools that one would pick instead. `make bench` runs everything (as root, for the lines are made
of network namespaces), `python -m benchmarks SCENARIO…` a part of it; `--quick` is a look at whether it runs at all,
not a measurement.

Modelferry runs as in the pod: `agent fetch` beside `agent checkpoint`, which reads every chunk back, hashes it, syncs
it to the disk, records it, compares the whole file's SHA-256, and publishes. The other tools write to the page cache
and verify nothing; the rows with `+ sha256sum` add the time in which a user would do that. Nobody else syncs.

How it is measured. All tools take turns within a round, a different one beginning each round; a cell shows the median,
with the least and the most in brackets. *Time* is from the start of the processes to the end of the last one that does
work. *CPU* is user and system time of all the tool's processes for each GB (10^9 bytes). *Memory* is the greatest sum
of the resident memory of the tool's processes, sampled 40 times a second (pages that are shared count for each
process). *Served* is what the origin says it sent, in bytes of content as a multiple of the files' size: what is above
1.00 was fetched more than once. A run *fails* by an exit code or by a wrong digest, which is looked at after each run.
Where a tool was stopped at the limit (Modelferry never is before its time), its speed is by what the origin had sent it
until then, some of which was still on its way. 1 MB is 10^6 bytes.

Lines other than loopback are emulated by the project itself (`benchmarks/emulator.py`): two network namespaces, and
between them a program that delays, limits and drops packets, or the kernel's token bucket.
"""


def text(result: Result) -> str:
    """`result` for a terminal."""
    parts = [f"\n{result.scenario}: {result.title}", f"  {_setting(result)}"]
    if result.left_out:
        return "\n".join([*parts[:1], f"  not measured: {result.left_out}"])
    parts += _aligned(*table(result))
    parts += [f"  {run.tool} {run.ended}: {run.note}" for run in result.runs if run.note]
    parts += [f"  {_mark(goal.reached):8}{goal.text}: {goal.value}" for goal in result.goals]
    return "\n".join(parts)


def page(results: Sequence[Result], order: Sequence[str], findings: Mapping[str, str] = MappingProxyType({})) -> str:
    """`results` as a page, in the scenarios' `order`. `findings`, by scenario: what a person found out about them."""
    chosen = sorted((r for r in results if r.scenario in order), key=lambda r: order.index(r.scenario))
    parts = [_INTRODUCTION, _machines(chosen), _summary(chosen), *(_section(result, findings) for result in chosen)]
    return "\n".join(parts)


def table(result: Result) -> Table:
    """The columns that say something in this result."""
    limit = result.limit
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("", lambda row: row.name),
        ("time, s", lambda row: _cell(row.seconds, "{:.2f}", _cut_off(row, limit))),
        ("MB/s", lambda row: _cell(row.rate, "{:.4g}")),
        ("CPU s/GB", lambda row: _cell(row.cpu, "{:.2f}")),
        ("memory, MB", lambda row: _cell(_scaled(row.rss, 1 / MB), "{:.0f}")),
        ("of it", lambda row: ", ".join(f"{label} {peak / MB:.1f}" for label, peak in sorted(row.peaks.items()))),
        ("served", lambda row: _cell(_scaled(row.served, 1 / max(1, result.size)), "{:.2f}")),
        ("failed", lambda row: _failed(row)),
    ]
    filled = [(head, [show(row) for row in result.rows]) for head, show in columns]
    kept = [(head, cells) for head, cells in filled if not head or any(cell not in ("", _NOTHING) for cell in cells)]
    return [head for head, _ in kept], list(zip(*(cells for _, cells in kept), strict=True))


def _cut_off(row: Row, limit: float) -> str:
    """What stands for the time of a tool that never ended by itself."""
    if not row.unfinished or row.unfinished < row.runs or row.served is None:
        return ""
    return f"not within {limit:g}; {row.served.median / MB:.3g} MB came"


def _failed(row: Row) -> str:
    stopped = f", {row.unfinished} stopped" if row.unfinished else ""
    return f"{row.failures} of {row.runs}{stopped}" if row.runs else ""


def _cell(spread: Spread | None, form: str, instead: str = "") -> str:
    if spread is None:
        return _NOTHING
    if instead:
        return instead
    middle, least, most = (form.format(value) for value in (spread.median, spread.least, spread.most))
    return middle if least == most else f"{middle} ({least} to {most})"


def _scaled(spread: Spread | None, by: float) -> Spread | None:
    return Spread(spread.median * by, spread.least * by, spread.most * by) if spread else None


def _aligned(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *body)
    ]


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_bold(cell, line[0]) for cell in line] for line in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _bold(cell: str, name: str) -> str:
    return f"**{cell}**" if cell and cell == name and name.startswith(OURS) else cell


def _setting(result: Result) -> str:
    limit = f"stopped after {result.limit:g} s" if result.limit else ""
    probed = f"a probe with datagrams got {result.carried / MB:.1f} MB/s" if result.carried else ""
    return "; ".join(part for part in (result.files, result.origin, result.line, probed, limit) if part)


def _mark(reached: bool | None) -> str:
    return {True: "reached", False: "missed", None: "open"}[reached]


def _section(result: Result, findings: Mapping[str, str]) -> str:
    heading = f"## {result.title}\n"
    if result.left_out:
        return f"{heading}\nNot measured: {result.left_out}.\n"
    goals = "".join(f"- {_mark(goal.reached)}: {goal.text}: {goal.value}\n" for goal in result.goals)
    note = f"{result.note}\n\n" if result.note else ""
    found = f"\n{findings[result.scenario].strip()}\n" if result.scenario in findings else ""
    load = f" The machine's load was {result.load:.1f} at the beginning." if result.load >= 1.0 else ""
    made = f"`{result.command}`, {result.date}.{load}\n"
    return f"{heading}\n{_setting(result)}.\n\n{note}{_markdown(*table(result))}\n{goals}{found}\n{made}"


def _summary(results: Sequence[Result]) -> str:
    body = [
        (result.title if number == 0 else "", goal.text, goal.value, _mark(goal.reached))
        for result in results
        for number, goal in enumerate(result.goals)
    ]
    body += [(result.title, "", result.left_out, "not measured") for result in results if result.left_out]
    return f"## What was to be reached\n\n{_markdown(('scenario', 'to reach', 'measured', ''), body)}"


def _machines(results: Sequence[Result]) -> str:
    measured = [result for result in results if not result.left_out]
    machines = list(dict.fromkeys(tuple(result.machine.items()) for result in measured))
    lists = "\n".join(f"- {', '.join(f'{name}: {value}' for name, value in machine)}" for machine in machines)
    called = _merged(result.called for result in measured)
    versions = _merged(result.versions for result in measured)
    rows = [(name, version, f"`{called[name]}`" if name in called else "") for name, version in versions.items()]
    return f"## Machine and versions\n\n{lists}\n\n{_markdown(('', 'version', 'called as'), rows)}"


def _merged(bodies: object) -> dict[str, str]:
    merged: dict[str, list[str]] = {}
    for body in bodies:  # type: ignore[attr-defined]
        assert isinstance(body, Mapping)
        for name, value in body.items():
            known = merged.setdefault(name, [])
            if value not in known:
                known.append(value)
    return {name: "; ".join(values) for name, values in merged.items()}
