"""Grammars of what users write: URLs, header fields, proxies, pins, rates and durations; and the rate meter. No I/O."""
