"""Servers for tests: a misbehaving origin, nginx, hubs, proxies, certificates, and a model to serve.

``python -m origin --root DIR`` runs the misbehaving origin as a process; most tests run `origin.server.HostileOrigin`
in their event loop.
"""
