"""Set-up for all tests."""

from __future__ import annotations

import asyncio

# pytest-asyncio gets the current event loop before each test. Before Python 3.14 the first call creates a loop, which
# is never closed, and the warning about it fails an unrelated test. Setting no loop avoids this.
asyncio.set_event_loop(None)
