"""Run benchmark scenarios, print a table for each, and store the results.

``report`` writes docs/benchmarks.md from the stored results (of runs with all tools and at least 3 rounds) and from the
explanations in benchmarks/findings. ``limit`` prints the rate that an origin measures each second while the bandwidth
limit changes. ``mirrors`` measures a download from three mirrors of different bandwidth, and one with a mirror that
serves corrupt data. ``artifacts`` measures thirty small artifacts on a test cluster. ``--quick`` runs the scenarios
with small files, to test that they run.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks import ROOT, machine
from benchmarks.artifacts import artifacts
from benchmarks.limit import limit
from benchmarks.mirrors import mirrors
from benchmarks.report import page, text
from benchmarks.result import LATEST, Result, read, save, store
from benchmarks.scenarios import SCENARIOS
from benchmarks.session import Session
from benchmarks.tools import TOOLS
from cluster import ClusterError

_NAMES = [scenario.name for scenario in SCENARIOS]
_ALL_TOOLS = frozenset(tool.name for tool in TOOLS)
#: The output of `report`.
PAGE = ROOT / "docs" / "benchmarks.md"
#: The rounds of a result that docs/benchmarks.md may show.
_MIN_ROUNDS = 3


def main() -> int:
    """Run the command line; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    args = _arguments()
    if args.scenario == ["report"]:
        return _report()
    if args.scenario == ["limit"]:
        return limit()
    if args.scenario == ["mirrors"]:
        return mirrors()
    if args.scenario == ["artifacts"]:
        return artifacts()
    if unknown := sorted(set(args.scenario) - set(_NAMES)):
        print(f"unknown scenario: {', '.join(unknown)}; the scenarios are {', '.join(_NAMES)}", file=sys.stderr)
        return 2
    tools = frozenset(args.tools.split(","))
    if unknown := sorted(tools - _ALL_TOOLS):
        print(f"unknown tool: {', '.join(unknown)}; the tools are {', '.join(sorted(_ALL_TOOLS))}", file=sys.stderr)
        return 2
    rounds = args.rounds or (1 if args.quick else _MIN_ROUNDS)
    command = machine.command(sys.argv[1:])
    try:
        with machine.workplace() as work:
            session = Session(rounds, args.quick, tools, command, work, machine.prepare())
            for scenario in SCENARIOS:
                if not args.scenario or scenario.name in args.scenario:
                    _finish(session.run(scenario), session)
    except (machine.Busy, ClusterError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the results of the scenarios before are stored", file=sys.stderr)
        return 130
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = f"{', '.join(_NAMES)}; or: report, limit, mirrors"
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=f"the default is all of: {names}")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each tool (default: 3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small files; takes about two minutes")
    all_tools = ",".join(tool.name for tool in TOOLS)
    parser.add_argument(
        "--tools", default=all_tools, metavar="NAMES", help=f"a comma-separated list (default: {all_tools})"
    )
    return parser.parse_args()


def _finish(result: Result, session: Session) -> None:
    print(text(result), flush=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"quick-{result.scenario}" if session.quick else f"{result.scenario}-{stamp}"
    save(result, LATEST.with_name(f"{name}.json"))
    if not session.quick and session.rounds >= _MIN_ROUNDS and session.tools == _ALL_TOOLS:
        store(result)


def benchmarks_page(results: Sequence[Result]) -> str:
    """docs/benchmarks.md with `results` and the explanations in benchmarks/findings."""
    findings = {file.stem: file.read_text() for file in (ROOT / "benchmarks" / "findings").glob("*.md")}
    return page(results, _NAMES, findings)


def _report() -> int:
    results = read()
    if not results:
        print("no results are stored; run python -m benchmarks first", file=sys.stderr)
        return 1
    PAGE.write_text(benchmarks_page(results))
    print(f"docs/benchmarks.md: {len(results)} scenarios")
    return 0


if __name__ == "__main__":
    sys.exit(main())
