"""Verification, repair and inspection of published revisions. Blocking, but for `repair`."""
