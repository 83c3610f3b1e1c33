"""Pins of certificates, against the well-known library's reading of the same certificates."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from modelferry.http.tls.contexts import certificate_error, client_context
from modelferry.http.tls.pinning import PinMismatch, pins_of
from modelferry.values.pins import pin_error
from origin.certs import Authority, Leaf


def certificate(leaf: Leaf) -> x509.Certificate:
    return x509.load_pem_x509_certificate(leaf.cert.read_bytes())


def pin(data: bytes) -> str:
    return "sha256/" + base64.b64encode(hashlib.sha256(data).digest()).decode()


def shake(context: ssl.SSLContext, leaf: Leaf) -> bytes:
    """A handshake in memory; returns what the client sent after it: nothing, unless it was content."""
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(downwards, upwards, server_hostname="127.0.0.1")
    server = leaf.context().wrap_bio(upwards, downwards, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    client.write(b"GET")
    return server.read(3)


def test_a_pin_is_of_the_certificate_or_of_its_key(tmp_path: Path) -> None:
    found = certificate(Authority(tmp_path).leaf("127.0.0.1", "a.example", "b.example"))
    key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert pins_of(found.public_bytes(Encoding.DER)) == (pin(found.public_bytes(Encoding.DER)), pin(key))


@pytest.mark.parametrize("which", [0, 1])
def test_a_pinned_certificate_or_key_passes_and_a_second_pin_does_no_harm(tmp_path: Path, which: int) -> None:
    authority = Authority(tmp_path)
    leaf = authority.leaf("127.0.0.1")
    pins = [pin(b"the one before"), pins_of(certificate(leaf).public_bytes(Encoding.DER))[which]]
    assert shake(client_context(authority.ca_file, pins=pins), leaf) == b"GET"


def test_a_certificate_that_is_not_pinned_fails_in_the_handshake_and_tells_what_was_seen(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    leaf = authority.leaf("127.0.0.1")
    with pytest.raises(PinMismatch) as mismatch:
        shake(client_context(authority.ca_file, pins=[pin(b"another")]), leaf)
    error = certificate_error("models.example.com", mismatch.value)
    assert error is not None
    assert error.reason == "PinMismatch"
    assert all(seen in error.message for seen in pins_of(certificate(leaf).public_bytes(Encoding.DER)))


def test_a_pin_never_stands_in_for_the_ordinary_verification(tmp_path: Path) -> None:
    leaf = Authority(tmp_path).leaf("127.0.0.1")
    pins = pins_of(certificate(leaf).public_bytes(Encoding.DER))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(pins=pins), leaf)


@pytest.mark.parametrize("wrong", ["", "sha256/", "sha256/abc", "sha1/" + "A" * 28, pin(b"") + "=", pin(b"")[7:]])
def test_what_is_no_pin_is_told(wrong: str) -> None:
    assert pin_error(wrong) is not None
    assert pin_error(pin(b"")) is None
