"""Downloads a Manifest to a disk: complete, verified and durable, or not at all.

::

    maintenance   verifies, repairs and inspects published revisions
    download      requests byte ranges, and decides what follows from the responses
    mirrors       the health of mirrors, which of them to use, and which one served corrupt data
    checkpoint    records what is on the disk for certain, in this process or behind a socket
    pacing        how many connections, how long to wait, when to give up (pure)
    response      what a response means: from its head to a verdict (pure)
    storage       the layout of the directory, and durable file operations

`modelferry.http` has the connections. The fetching side (download, mirrors, pacing, response) imports only the
interface of the checkpoint, ``checkpoint.api``, and so neither SQLite nor a hash: its process must stay small (48 MB
with 16 TLS connections).
"""
