"""Bytes to a disk: where things lie, and how they are written so that they stay."""
