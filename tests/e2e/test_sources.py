"""Checksum lists as the source of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from e2e.namespace_client import NamespaceClient, artifact, digests, readable_output
from e2e.platform import Platform
from origin.certs import Leaf
from origin.nginx import Nginx
from origin.planted import found_in


def test_a_spec_may_contain_only_a_checksum_list(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    model = {"config.yaml": b"x: 1\n", "asset/gpt.safetensors": bytes(3_000_000)}
    for path, body in model.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(body)
    lines = [f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in model.items()]
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    with Nginx(tmp_path, leaf=leaf, host=installed.host_address) as nginx:
        listed = artifact("listed", [])
        listed["spec"]["source"] = {"http": {"manifestURL": nginx.url("SHA256SUMS")}}
        ns.apply(listed)
        ns.wait_ready("listed")
    status = ns.status("listed")
    assert (status["files"], status["sizeBytes"], status["checksum"]) == (2, 3_000_005, "Verified")
    assert status["revision"] == status["digest"].removeprefix("sha256:")[:12]
    assert ns.files_on_disk("listed") == digests(model)


def test_an_invalid_checksum_list_is_reported_with_the_line(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    (tmp_path / "SHA256SUMS").write_text("<html>not found</html>\n")
    with Nginx(tmp_path, leaf=leaf, host=installed.host_address) as nginx:
        wrong = artifact("wrong", [])
        wrong["spec"]["source"] = {"http": {"manifestURL": nginx.url("SHA256SUMS")}}
        ns.apply(wrong)
        assert "line 1 is not one of sha256sum" in ns.wait_stalled("wrong", "InvalidSpec")


def test_a_header_from_a_secret_is_sent_by_both_pods(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    """kserve#1351: a gateway that answers 403 without its header, to resolve and to fetch."""
    planted = "planted-header-value"
    (tmp_path / "config.yaml").write_bytes(b"x: 1\n")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gateway"}, "stringData": {"key": planted}}
    with Nginx(tmp_path, leaf=leaf, host=installed.host_address, demand=("X-Api-Key", planted)) as nginx:
        files = [{"path": "config.yaml", "url": nginx.url("config.yaml")}]
        shown = artifact(
            "shown", files, headers=[{"name": "X-Api-Key", "secretRef": {"name": "gateway", "key": "key"}}]
        )
        ns.apply(secret, shown, artifact("bare", files))
        ns.wait_ready("shown")
        assert "403" in ns.wait_stalled("bare", "Denied")
    assert ns.files_on_disk("shown") == digests({"config.yaml": b"x: 1\n"})
    assert [output for output, text in readable_output(ns).items() if found_in(text, planted)] == []
