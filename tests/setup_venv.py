#!/usr/bin/env python3
"""setup_venv.py DIR LOCK: a virtual environment with the locked dependencies and this project. Standard library only.

On Debian ensurepip is in a package of its own: as root it is installed if missing, otherwise the error names it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

MIN_PYTHON = (3, 11)


def main() -> None:
    target, lock = Path(sys.argv[1]), Path(sys.argv[2])
    if sys.version_info < MIN_PYTHON:
        sys.exit(
            f"this is Python {sys.version.split()[0]}; Modelferry needs 3.11 or newer: PYTHON=python3.11 make setup"
        )
    print(f"setup: installing the locked dependencies into {target}, which takes a minute", flush=True)
    _ensure_venv()
    subprocess.run([sys.executable, "-m", "venv", "--clear", target], check=True)
    pip: list[str | Path] = [target / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--require-hashes", "-r", lock], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--no-build-isolation", "-e", "."], check=True)
    (target / ".ready").touch()


def _ensure_venv() -> None:
    try:
        import ensurepip  # noqa: F401

        return
    except ImportError:
        package = f"python{sysconfig.get_python_version()}-venv"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"this Python has no ensurepip; run as root: apt-get install {package}")
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["apt-get", "install", "-yq", "--no-install-recommends", package], check=True)


if __name__ == "__main__":
    main()
