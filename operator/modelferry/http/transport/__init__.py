"""Sockets, connections and their pool, pipelining and throttling, behind `http.client.HTTPClient`."""
