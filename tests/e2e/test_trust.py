"""Trust in servers: pins, TLS versions, client certificates, and CA bundles of the namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from e2e.namespace_client import NamespaceClient, artifact, readable_output
from e2e.platform import Platform
from modelferry.http.tls.pinning import pins_of
from origin.certs import CLIENT, Authority, Leaf
from origin.nginx import Nginx
from origin.planted import found_in, key_lines

OTHER_PIN = "sha256/" + "A" * 43 + "="


@contextmanager
def serving(
    platform: Platform, root: Path, leaf: Leaf, tls: str = "TLSv1.3", clients: Path | None = None
) -> Iterator[list[dict[str, Any]]]:
    """`source.http.files` of a small file behind nginx with this certificate, which may require a client certificate of
    `clients`."""
    (root / "a.bin").write_bytes(b"model" * 1000)
    with Nginx(root, leaf=leaf, host=platform.host_address, tls=tls, clients=clients) as nginx:
        yield [{"path": "a.bin", "url": nginx.url("a.bin")}]


def pins(leaf: Leaf) -> tuple[str, str]:
    """The pins of the certificate and of its key."""
    return pins_of(x509.load_pem_x509_certificate(leaf.cert.read_bytes()).public_bytes(Encoding.DER))


def test_one_of_two_pins_must_match(installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path) -> None:
    with serving(installed, tmp_path, leaf) as files:
        ns.apply(artifact("pinned", files, transfer={"tls": {"pins": [OTHER_PIN, pins(leaf)[0]]}}))
        ns.wait_ready("pinned")


def test_a_pin_mismatch_reports_the_servers_pins_until_one_of_them_is_set(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    with serving(installed, tmp_path, leaf) as files:
        ns.apply(artifact("pinned", files, transfer={"tls": {"pins": [OTHER_PIN]}}))
        message = ns.wait_stalled("pinned", "PinMismatch")
        assert all(pin in message for pin in pins(leaf))
        ns.apply(artifact("pinned", files, transfer={"tls": {"pins": [OTHER_PIN, pins(leaf)[1]]}}))
        ns.wait_ready("pinned")


def test_the_backup_pin_is_accepted_after_a_key_rotation(
    installed: Platform, ns: NamespaceClient, authority: Authority, leaf: Leaf, tmp_path: Path
) -> None:
    renewed = authority.leaf(installed.host_address, name="renewed")
    both = [pins(leaf)[1], pins(renewed)[1]]
    for name, shown in (("before", leaf), ("after", renewed)):
        with serving(installed, tmp_path, shown) as files:
            ns.apply(artifact(name, files, transfer={"tls": {"pins": both}}))
            ns.wait_ready(name)
    with serving(installed, tmp_path, renewed) as files:
        ns.apply(artifact("forgotten", files, transfer={"tls": {"pins": both[:1]}}))
        assert pins(renewed)[1] in ns.wait_stalled("forgotten", "PinMismatch")


@pytest.mark.parametrize(
    ("reason", "begins", "ends", "host"),
    [
        ("CertificateExpired", -2, -1, ""),
        ("ClockSkew", 1, 2, ""),
        ("HostMismatch", -1, 1, "models.example.com"),
    ],
)
def test_an_expired_or_future_certificate_or_one_for_another_host_is_reported(
    installed: Platform,
    ns: NamespaceClient,
    authority: Authority,
    tmp_path: Path,
    reason: str,
    begins: int,
    ends: int,
    host: str,
) -> None:
    day = timedelta(days=1)
    host = host or installed.host_address
    with serving(installed, tmp_path, authority.leaf(host, name=reason, begins=begins * day, ends=ends * day)) as files:
        ns.apply(artifact("wrong", files))
        assert installed.host_address in ns.wait_stalled("wrong", reason)
        assert reason in ns.kubectl("get", "ma", "wrong", "-o", "wide")


def test_tls_1_2_is_refused_unless_allowed(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    with serving(installed, tmp_path, leaf, tls="TLSv1.2") as files:
        ns.apply(artifact("old", files))
        assert "minVersion" in ns.wait_stalled("old", "TLSVersion")
        ns.apply(artifact("old", files, transfer={"tls": {"minVersion": "1.2"}}))
        ns.wait_ready("old")


def test_a_server_that_requires_a_client_certificate(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    clients = Authority(tmp_path, "clients")
    reader = clients.leaf("reader", name="reader", purpose=CLIENT)
    with serving(installed, tmp_path, leaf, clients=clients.ca_file) as files:
        ns.apply(artifact("known", files))
        assert "spec.transfer.tls.clientCertificate" in ns.wait_stalled("known", "ClientCertificateRequired")
        ns.kubectl("create", "secret", "tls", "reader", f"--cert={reader.cert}", f"--key={reader.key}")
        tls = {"clientCertificate": {"secretRef": {"name": "reader"}}}
        ns.apply(artifact("known", files, transfer={"tls": tls}))
        ns.wait_ready("known")
    assert [where for where, text in readable_output(ns).items() if found_in(text, *key_lines(reader))] == []


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_a_ca_bundle_of_the_namespace_is_trusted(
    installed: Platform, ns: NamespaceClient, tmp_path: Path, kind: str
) -> None:
    own = Authority(tmp_path, "company")
    with serving(installed, tmp_path, own.leaf(installed.host_address)) as files:
        ns.apply(artifact("company", files, transfer={"tls": {"ca": {kind: {"name": "company-ca"}}}}))
        assert "'company-ca'" in ns.wait_stalled("company", "CABundleMissing")
        create = ["configmap"] if kind == "configMap" else ["secret", "generic"]
        ns.kubectl("create", *create, "company-ca", f"--from-file=ca.crt={own.ca_file}")
        ns.kubectl("delete", "pods", "-l", "modelferry.dev/artifact=company")
        ns.wait_ready("company")
