"""``python -m origin``: the misbehaving origin as a process. Prints its URL, and serves until it is terminated."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import ssl
from pathlib import Path

from origin.rules import read_rules
from origin.server import HostileOrigin


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m origin", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the directory to serve")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDR:PORT", help="port 0 selects a free port")
    parser.add_argument("--cert", type=Path, metavar="PEM", help="serve TLS 1.3, with --key")
    parser.add_argument("--key", type=Path, metavar="PEM")
    parser.add_argument("--rules", type=Path, metavar="JSON", help="a list of rules; see origin/rules.py")
    parser.add_argument("--log", type=Path, metavar="JSONL", help="append one line per request")
    parser.add_argument("--rate", type=float, metavar="BYTES", help="bytes per second of each response")
    parser.add_argument("--digest", action="store_true", help="send Content-Digest in each response")
    args = parser.parse_args()
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> None:
    tls = None
    if args.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.load_cert_chain(args.cert, args.key)
    host, _, port = args.listen.rpartition(":")
    rules = read_rules(args.rules.read_text()) if args.rules else ()
    origin = HostileOrigin(
        root=args.root,
        rules=rules,
        tls=tls,
        digest=args.digest,
        rate=args.rate,
        log=args.log,
        host=host.strip("[]"),
        port=int(port),
    )
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with origin:
        print(origin.url(""), flush=True)
        await origin.serve_forever()


main()
