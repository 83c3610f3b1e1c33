"""Modelferry: puts model files on the nodes of a Kubernetes cluster.

The packages, and the one way in which imports run (held by import-linter in ``make check``)::

    cli                      the ``modelferry`` command
    agent     | controller   what runs in a pod | observe -> plan -> apply -> report
    maintenance              a published revision: verify, repair, inspect
    engine    | sources      one download: a manifest's bytes from the network | spec.source into a manifest
    checkpoint               what is durable: the chunk store, digests, recovery, publishing
    http      | storage      connections, TLS, proxies, credentials, the address policy | files and directories
    messages  | resource     what agents report to the controller | the ModelArtifact
    manifest                 files, chunks and paths
    values                   the grammars of URLs, header fields, pins, proxies, sizes and rates; the rate meter
    errors                   the error classes
"""

__version__ = "0.1.0"
