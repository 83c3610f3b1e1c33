"""Modelferry beside the tools that a user would pick instead, on lines that models travel on.

``python -m benchmarks`` from the repository's root. The test origins (``tests/origin``) serve, and the test cluster's
installer (``tests/cluster/needs.py``) brings what is missing on a Debian machine.
"""

import sys
from pathlib import Path

#: The repository.
ROOT = Path(__file__).resolve().parents[1]

if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))
