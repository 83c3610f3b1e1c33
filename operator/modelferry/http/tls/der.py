"""The parts of a certificate that pins and validity checks need, read from its DER (RFC 5280 section 4.1)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

#: The elements of a TBSCertificate after the optional version: serial number, signature, issuer, validity, subject,
#: subjectPublicKeyInfo.
_VALIDITY, _PUBLIC_KEY = 3, 5
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo."""
    at = _element(certificate, _PUBLIC_KEY)
    return certificate[at : _end(certificate, at)]


def validity(certificate: bytes) -> tuple[datetime, datetime]:
    """From when and until when it is valid. Raises ValueError where these are not times."""
    at, _ = _contents(certificate, _element(certificate, _VALIDITY))
    return _time(certificate, at), _time(certificate, _end(certificate, at))


def first_pem(text: str) -> str | None:
    """The first certificate of a PEM bundle, whatever else it contains; None where there is none."""
    found = _PEM.search(text)
    return found[0] if found else None


def _element(certificate: bytes, number: int) -> int:
    inside, _ = _contents(certificate, 0)
    at, _ = _contents(certificate, inside)
    if certificate[at] == 0xA0:  # [0] EXPLICIT version
        at = _end(certificate, at)
    for _ in range(number):
        at = _end(certificate, at)
    return at


def _time(data: bytes, at: int) -> datetime:
    """UTCTime, whose years are those from 1950 to 2049, or GeneralizedTime (RFC 5280 section 4.1.2.5)."""
    begin, end = _contents(data, at)
    text = data[begin:end].decode("ascii")
    if data[at] == 0x17:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _contents(data: bytes, at: int) -> tuple[int, int]:
    """Where the contents of the DER element at `at` begin and end."""
    first = data[at + 1]
    if first < 0x80:
        return at + 2, at + 2 + first
    count = first & 0x7F
    begin = at + 2 + count
    return begin, begin + int.from_bytes(data[at + 2 : begin], "big")


def _end(data: bytes, at: int) -> int:
    return _contents(data, at)[1]
