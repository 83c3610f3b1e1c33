"""Sockets, connections, pipelining and throttling, behind `http.client.HTTPClient`."""
