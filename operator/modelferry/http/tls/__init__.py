"""TLS contexts and sessions, pins, certificate errors, and TLS wrapped over a socket."""
