"""An origin that corrupts a chunk, once or always."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from e2e.consumers import GATED, example_consumers
from e2e.namespace_client import NamespaceClient, artifact
from e2e.origins import MIB, Hostile, files, hostile, model
from e2e.platform import Platform
from modelferry.manifest import CHUNK_SIZE
from origin.certs import Leaf

#: The offset of the corrupt byte, in the second chunk of the largest file.
CORRUPT = CHUNK_SIZE + 4321


def requested_bytes(origin: Hostile, path: str) -> Counter[int]:
    """The requested bytes of each chunk of a file (the resolve pod requests only the first byte)."""
    requested: Counter[int] = Counter()
    for start, end in filter(None, (entry.span for entry in origin.requests(path))):
        if end - start > 1:
            assert start // CHUNK_SIZE == (end - 1) // CHUNK_SIZE, "one request, one chunk"
            requested[start // CHUNK_SIZE] += end - start
    return requested


def test_only_a_corrupt_chunk_is_fetched_again(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    root, found = model(96 * MIB)
    largest = max(found, key=lambda file: file.size)
    rules = [{"path": largest.path, "covers": CORRUPT, "times": 1, "corrupt": CORRUPT}]
    with hostile(root, tmp_path, host=installed.host_address, leaf=leaf, rules=rules, digest=True) as origin:
        ns.apply(
            artifact(
                "spoilt", files(origin, found), nodes={"selector": {"kubernetes.io/hostname": installed.node_names[0]}}
            )
        )
        ns.wait_ready("spoilt")
        requested = requested_bytes(origin, largest.path)
    assert (requested[0], requested[2]) == (CHUNK_SIZE, largest.size - 2 * CHUNK_SIZE), (
        "a correct chunk was fetched again"
    )
    assert CHUNK_SIZE < requested[1] <= 2 * CHUNK_SIZE
    assert ns.status("spoilt")["checksum"] == "Verified"


def test_a_chunk_that_is_always_corrupt_stalls_the_artifact_and_nothing_is_published(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    root, found = model(96 * MIB)
    largest = max(found, key=lambda file: file.size)
    rules = [{"path": largest.path, "covers": CORRUPT, "corrupt": CORRUPT}]
    with hostile(root, tmp_path, host=installed.host_address, leaf=leaf, rules=rules) as origin:
        ns.apply(*example_consumers(installed.image)[:1])
        ns.apply(artifact("chattts", files(origin, found)))
        message = ns.wait_stalled("chattts", "DigestMismatch")
        ns.wait("both copies to stall", lambda: ns.status("chattts")["nodes"]["stalled"] == 2)
    assert largest.path in message
    assert largest.sha256 in message
    status = ns.status("chattts")
    assert (status["nodes"]["ready"], status["checksum"]) == (0, "Mismatch")
    (consumer,) = ns.all("pods", f"app={GATED}")
    assert consumer["status"]["phase"] == "Pending"
    for node in installed.nodes.nodes:
        listing = node.exec(
            ["find", f"/var/lib/modelferry/{ns.namespace}/chattts", "-maxdepth", "1", "-name", "current"]
        )
        assert listing == ""
    restarts = [c["restartCount"] for pod in ns.pods("chattts") for c in pod["status"]["containerStatuses"]]
    assert restarts == [0, 0], "Stalled, not a restart loop"
