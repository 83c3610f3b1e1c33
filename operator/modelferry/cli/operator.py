"""``modelferry operator``: run the operator in this cluster, or on a machine with a kubeconfig."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the settings are environment variables, MODELFERRY_* (`modelferry.controller.settings`)."""
    del parser


def main(args: argparse.Namespace) -> int:
    """Run until SIGTERM. Raises InvalidSpec if a setting is invalid."""
    del args
    from modelferry.controller import app  # only this command needs kopf and the API client

    app.run()
    return 0
