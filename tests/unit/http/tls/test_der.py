"""What is read of certificates, against the well-known library's reading of the same ones."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from modelferry.http.tls.der import first_pem, validity
from origin.certs import Authority


@pytest.mark.parametrize("years", [1, 40])  # Beyond 2049 a time has four digits of the year.
def test_the_validity_is_what_the_library_reads(tmp_path: Path, years: int) -> None:
    leaf = Authority(tmp_path).leaf("h", ends=timedelta(days=365 * years))
    read = x509.load_pem_x509_certificate(leaf.cert.read_bytes())
    begins, ends = validity(ssl.PEM_cert_to_DER_cert(leaf.cert.read_text()))
    assert (begins, ends) == (read.not_valid_before_utc, read.not_valid_after_utc)
    assert ends - datetime.now(UTC) > timedelta(days=364 * years)


@pytest.mark.parametrize("damaged", [b"", b"0", b"\x30\x82\x01", b"\x30\x00\x30\x00", bytes(64)])
def test_what_is_no_certificate_is_refused(damaged: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        validity(damaged)


def test_the_first_of_a_chain_is_found_whatever_stands_around_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    leaf = authority.leaf("h").cert.read_text()
    assert first_pem(f"# ours\n{leaf}\n{authority.ca_file.read_text()}") == leaf.strip()
    assert first_pem("no certificate") is None
