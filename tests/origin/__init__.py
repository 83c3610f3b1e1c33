"""Origins to download from in tests: a scriptable, hostile one; nginx; certificates; and a model to serve.

``python -m origin --root DIR`` runs the hostile one by itself; tests use `origin.server.HostileOrigin` in their own
loop.
"""
