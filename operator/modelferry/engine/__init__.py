"""Fetches a Manifest onto a disk: whole, verified and durable, or not at all.

::

    fetcher ──▶ plan        which chunk next; what a stopped download may keep (pure)
            ──▶ wire        what a response means: head in, verdict out (sans-IO)
            ──▶ pace        how many connections, how long to wait, when to give up (pure)
            ──▶ transport   bytes from a socket
            ──▶ storage     bytes to a file
            ──▶ checkpoint  what is on the disk for certain; in this process or behind a socket
    verify                  is what was published still what was verified?
    repair                  what is not: its damaged chunks, fetched again into a new file that takes its place
    inspection              what a directory holds, read without disturbing anybody

The fetching side imports neither SQLite nor a hash: it must stay small (48 MB with 16 TLS connections).
"""
