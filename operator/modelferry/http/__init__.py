"""HTTP/1.1 over TLS, proxies and credentials: below engine and sources. Knows nothing of files or chunks."""
