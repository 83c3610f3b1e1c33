"""Grammars of values that users write: URLs, proxies, pins, rates and durations. No I/O; imports no other package."""
