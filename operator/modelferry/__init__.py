"""Modelferry: puts model files on the nodes of a Kubernetes cluster.

The rooms, and the one way in which imports run (held by import-linter in ``make check``)::

    cli                      the ``modelferry`` command
    agent     | controller   what runs in a pod | observe -> plan -> apply -> report
    engine    | sources      a manifest onto a disk | spec.source into a manifest
    net                      the way out of this machine: TLS, and what a failed connection means
    messages  | resource     pure data: what agents tell the controller; the ModelArtifact
    manifest                 pure data: files, digests, chunks
    errors                   every way in which things go wrong
"""

__version__ = "0.1.0"
