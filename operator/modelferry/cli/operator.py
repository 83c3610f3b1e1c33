"""``modelferry operator``: run the operator in this cluster, or on a machine with a kubeconfig."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The operator's settings come by the environment, MODELFERRY_* (`modelferry.controller.settings`)."""
    del parser


def main(args: argparse.Namespace) -> int:
    """Run until SIGTERM. Raises InvalidSpec where the settings are wrong."""
    del args
    from modelferry.controller import app  # kopf and the API client are only needed here

    app.run()
    return 0
