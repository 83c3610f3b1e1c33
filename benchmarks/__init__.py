"""Benchmarks of Modelferry and other download tools, over emulated network paths.

Run ``python -m benchmarks`` in the repository's root. The test origins (``tests/origin``) serve the files;
``tests/cluster/prerequisites.py`` installs missing packages on Debian.
"""

import sys
from pathlib import Path

#: The repository's root.
ROOT = Path(__file__).resolve().parents[1]

if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))
