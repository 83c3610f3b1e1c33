"""The way out of this machine: TLS contexts and what a failed connection means. Knows nothing of files or chunks."""
