"""The command line: ``PYTHONPATH=tests python3 -m cluster up|down|status|clean|build|path``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from . import binaries, cleanup, image, prerequisites, registry
from .cluster import Cluster
from .shell import ClusterError

BUILT = {"kubernetes": binaries.kubernetes, "helm": binaries.helm, "pause": image.pause, "image": image.project_image}


def main() -> int:
    """Runs one command; the exit code is 0, or 1 with an error message."""
    # Both act like Ctrl-C: what was created is deleted. A shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    options = _parser().parse_args()
    try:
        options.run(options)
    except ClusterError as error:
        print(f"cluster: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _up(options: argparse.Namespace) -> None:
    images = [*options.image, *([image.project_image().tar] if options.project_image else [])]
    started = time.monotonic()
    cluster = Cluster.up(name=options.name, nodes=options.nodes, disk=options.disk, images=images)
    print(f"cluster: {cluster.name} is up after {time.monotonic() - started:.0f} s, with {options.nodes} nodes")
    print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)
    if options.keep:
        cluster.keep()
        print(f"delete it with: {_this_command()} down --name {cluster.name}")
        return
    print("Ctrl-C deletes it (--keep keeps it)", flush=True)
    try:
        threading.Event().wait()
    finally:
        cluster.down()


def _down(options: argparse.Namespace) -> None:
    prerequisites.ensure_root()
    with registry.locked():
        cleanup.delete_cluster(registry.find(options.name))
    print(f"cluster: {options.name} is deleted")


def _clean(options: argparse.Namespace) -> None:
    prerequisites.ensure_root()
    removed = cleanup.remove_abandoned(kept=options.all)
    print(f"cluster: removed {', '.join(removed) or 'nothing'}")


def _status(options: argparse.Namespace) -> None:
    prerequisites.ensure_root()
    for entry in registry.entries():
        owner = f"owned by process {entry.owner}" if entry.owned() else "kept" if entry.kept else "abandoned"
        print(f"{entry.name}  {entry.subnet.network}  {owner}  {entry.data}")


def _build(options: argparse.Namespace) -> None:
    for what in options.what or BUILT:
        if what not in BUILT:
            raise ClusterError(f"cannot build {what!r}; choose from: {', '.join(BUILT)}")
        made = BUILT[what]()
        print(f"{made.reference}  {made.tar}" if isinstance(made, image.Image) else f"{what}  {made}")


def _path(options: argparse.Namespace) -> None:
    if options.what != "kubeconfig":
        print(binaries.kubectl_path() if options.what == "kubectl" else binaries.helm_path())
    elif options.name:
        print(Cluster.attach(options.name).kubeconfig)
    else:
        raise ClusterError("give the cluster's name: --name NAME; status lists the clusters")


def _install(options: argparse.Namespace) -> None:
    prerequisites.ensure(
        {**prerequisites.RUN_PACKAGES, **prerequisites.BUILD_PACKAGES, **prerequisites.SERVER_PACKAGES}
    )


def _this_command() -> str:
    path = os.environ.get("PYTHONPATH")
    return f"{f'PYTHONPATH={path} ' if path else ''}python3 -m cluster"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m cluster", description="Real Kubernetes clusters on this machine, as root."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="create a cluster")
    up.add_argument("--name", help="its name, for the other commands (default: a random one)")
    up.add_argument("--nodes", type=int, default=2, help="the number of nodes (default: 2)")
    up.add_argument("--disk", default="3G", help="the size of each node's model disk (default: 3G)")
    up.add_argument("--image", type=Path, action="append", default=[], help="load this image tar (may be repeated)")
    up.add_argument("--project-image", action="store_true", help="build the project's image and load it")
    up.add_argument("--keep", action="store_true", help="keep the cluster when this command ends")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="delete a cluster")
    down.add_argument("--name", required=True)
    down.set_defaults(run=_down)

    clean = commands.add_parser("clean", help="delete the clusters of killed runs")
    clean.add_argument("--all", action="store_true", help="also clusters that were kept")
    clean.set_defaults(run=_clean)

    commands.add_parser("install", help="install missing Debian packages").set_defaults(run=_install)
    commands.add_parser("status", help="list the clusters of this machine").set_defaults(run=_status)

    build = commands.add_parser("build", help="build programs and images into the cache")
    build.add_argument("what", nargs="*", metavar="WHAT", help=f"{', '.join(BUILT)} (default: all)")
    build.set_defaults(run=_build)

    path = commands.add_parser("path", help="print the path of a program or a kubeconfig")
    path.add_argument("what", choices=["kubectl", "helm", "kubeconfig"])
    path.add_argument("--name", help="the cluster of the kubeconfig")
    path.set_defaults(run=_path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
