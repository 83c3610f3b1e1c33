"""Bytes from a socket: HTTP/1.1 over asyncio, behind `Dialer.ask`, which is all that the fetcher sees of it."""
