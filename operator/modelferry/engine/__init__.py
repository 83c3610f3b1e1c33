"""Downloads a manifest: requests its bytes, and hands each complete chunk to the checkpoint.

::

    download      requests byte ranges, and decides what follows from the responses
    mirrors       the health of mirrors, which of them to use, and which one served corrupt data
    pacing        how many connections, how long to wait, when to give up (pure)
    verdicts      what a response means: from its head to a verdict (pure)

`modelferry.http` has the connections, `modelferry.storage` the files. The engine imports only the interface of the
checkpoint, ``checkpoint.api``, and so neither SQLite nor a hash: its process must stay small (48 MB with 16 TLS
connections).
"""
