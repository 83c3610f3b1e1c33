"""``python -m benchmarks [SCENARIO…]``: run the scenarios, print a table for each, and keep the results.

``python -m benchmarks report`` writes docs/benchmarks.md from the results that were kept (those with all tools and at
least 3 rounds) and from what is written about them in benchmarks/findings. ``python -m benchmarks limit`` shows, second
by second, what an origin sees of a limit that is changed in flight; ``python -m benchmarks mirrors`` what three mirrors
of different speed bring together, and what becomes of one that lies. ``--quick`` runs everything in small, to see
whether it runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks import ROOT, machine
from benchmarks.limit import limit
from benchmarks.mirrors import mirrors
from benchmarks.report import page, text
from benchmarks.result import LATEST, Result, keep, read, save
from benchmarks.scenarios import SCENARIOS
from benchmarks.session import Session
from benchmarks.tools import TOOLS
from cluster import ClusterError

_NAMES = [scenario.name for scenario in SCENARIOS]
_EVERYONE = frozenset(tool.name for tool in TOOLS)
#: What `report` writes.
PAGE = ROOT / "docs" / "benchmarks.md"
#: Rounds that make a result which docs/benchmarks.md may show.
_ROUNDS = 3


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
    if unknown := sorted(set(args.scenario) - set(_NAMES)):
        print(f"no such scenario: {', '.join(unknown)}; there are {', '.join(_NAMES)}", file=sys.stderr)
        return 2
    tools = frozenset(args.tools.split(","))
    if unknown := sorted(tools - _EVERYONE):
        print(f"no such tool: {', '.join(unknown)}", file=sys.stderr)
        return 2
    rounds = args.rounds or (1 if args.quick else _ROUNDS)
    command = machine.command(sys.argv[1:])
    try:
        with machine.workplace() as work:
            session = Session(rounds, args.quick, tools, command, work, machine.prepare())
            for scenario in SCENARIOS:
                if not args.scenario or scenario.name in args.scenario:
                    _finish(session.measured(scenario), session)
    except (machine.Busy, ClusterError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was measured before is kept", file=sys.stderr)
        return 130
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = f"{', '.join(_NAMES)}; or: report, limit, mirrors"
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=f"all, where none is given: {names}")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each tool (3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="everything in small, in about two minutes")
    everyone = ",".join(tool.name for tool in TOOLS)
    parser.add_argument("--tools", default=everyone, metavar="NAMES", help=f"of {everyone}")
    return parser.parse_args()


def _finish(result: Result, session: Session) -> None:
    print(text(result), flush=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"quick-{result.scenario}" if session.quick else f"{result.scenario}-{stamp}"
    save(result, LATEST.with_name(f"{name}.json"))
    if not session.quick and session.rounds >= _ROUNDS and session.tools == _EVERYONE:
        keep(result)


def written(results: Sequence[Result]) -> str:
    """The page of `results`, and of what was found out about them."""
    findings = {file.stem: file.read_text() for file in (ROOT / "benchmarks" / "findings").glob("*.md")}
    return page(results, _NAMES, findings)


def _report() -> int:
    results = read()
    if not results:
        print("nothing has been measured yet: python -m benchmarks", file=sys.stderr)
        return 1
    PAGE.write_text(written(results))
    print(f"docs/benchmarks.md: {len(results)} scenarios")
    return 0


if __name__ == "__main__":
    sys.exit(main())
