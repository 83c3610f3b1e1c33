"""Credentials by host, signatures, and presigned URLs."""
