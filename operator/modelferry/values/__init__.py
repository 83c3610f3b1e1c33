"""Grammars of values that people write: URLs, proxies, pins, sizes and durations. No I/O, no other package."""
