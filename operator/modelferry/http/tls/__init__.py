"""TLS contexts, pins, certificate errors, and TLS wrapped over a socket."""
