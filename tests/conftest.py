"""For all tests."""

from __future__ import annotations

import asyncio

# pytest-asyncio asks for the current event loop before each test. Below Python 3.14 the first who asks is given a new
# one, which nobody closes, and the warning about it fails a test that has nothing to do with it. Saying that there is
# none avoids it.
asyncio.set_event_loop(None)
