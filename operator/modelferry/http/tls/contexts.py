"""TLS as Modelferry speaks it: 1.3 or newer unless told otherwise, the host name and the chain always verified."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from modelferry.errors import CertificateRefused, InvalidSpec
from modelferry.http.tls.pinning import PinMismatch, pinned_class

#: OpenSSL's verification results (x509_vfy.h) that have a reason of their own; any other is CertificateRefused.
_VERIFY_REASONS = {
    9: "ClockSkew",  # X509_V_ERR_CERT_NOT_YET_VALID: more often our clock than their certificate
    10: "CertificateExpired",
    18: "UnknownAuthority",  # self-signed leaf
    19: "UnknownAuthority",  # self-signed root that is not in the bundle
    20: "UnknownAuthority",  # the issuer is not in the bundle
    21: "UnknownAuthority",  # the leaf's signature cannot be checked
    62: "HostMismatch",
    64: "HostMismatch",  # the same for an IP address
}

#: Alerts by which a server says what it thinks of our own certificate (RFC 8446 section 6.2), as OpenSSL names them.
_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "ClientCertificateRequired",
    "TLSV1_ALERT_UNKNOWN_CA": "ClientCertificateRefused",
    "TLSV1_ALERT_ACCESS_DENIED": "ClientCertificateRefused",
    "SSLV3_ALERT_BAD_CERTIFICATE": "ClientCertificateRefused",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "ClientCertificateRefused",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "ClientCertificateRefused",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "ClientCertificateRefused",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "ClientCertificateRefused",
}

#: nginx, and what is built on it, lets the handshake pass and says it in a page of status 400 (its own 496 and 495).
_PAGES = {
    b"No required SSL certificate was sent": "ClientCertificateRequired",
    b"The SSL certificate error": "ClientCertificateRefused",
}

_WAYS_OUT = {
    "ClockSkew": "check this machine's clock",
    "CertificateExpired": "renew the server's certificate",
    "UnknownAuthority": "add the authority to the trusted CA bundle",
    "HostMismatch": "use a host name that the certificate lists",
    "TLSVersion": 'enable TLS 1.3 on the server, or set {where}.minVersion to "1.2"',
    "CertificateRefused": "check the server's certificate",
    "PinMismatch": "where the server's certificate was renewed, add its pin to {pins}",
    "ClientCertificateRequired": "name a Secret with one in {where}.clientCertificate (it is shown to the source's host"
    " alone, or to those in the Secret's key allowedHosts)",
    "ClientCertificateRefused": "put one that it takes, and its chain, into the Secret of {where}.clientCertificate",
}

_CAUSES = {
    "ClientCertificateRequired": "it wants a client certificate, and was shown none",
    "ClientCertificateRefused": "it does not take our client certificate",
}

#: What `client_context` takes for the oldest version that is spoken.
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(*ca_files: Path, oldest: str = "1.3", pins: Sequence[str] = ()) -> ssl.SSLContext:
    """A verifying context for TLS `oldest` or newer that trusts the system's authorities and those in `ca_files` (PEM).

    With `pins`, a server must also show a certificate or key that is one of them (`net.pins`). SSL_CERT_FILE, which
    OpenSSL reads itself, replaces the system's authorities. Raises InvalidSpec where a file is no bundle.
    """
    context = ssl.create_default_context()
    context.minimum_version = VERSIONS[oldest]
    if pins:
        context.sslobject_class = pinned_class(pins)
    for ca_file in ca_files:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidSpec(f"CA bundle {ca_file}: {error}; give a file of PEM certificates") from error
    return context


def refused(
    host: str, error: ssl.SSLError, *, where: str = "spec.transfer.tls", pins: str = ""
) -> CertificateRefused | None:
    """What a failed handshake with `host` says of its certificate, its version, or ours; None where it says nothing (a
    reset).

    `where`: the field that says how it is trusted; `pins`: the one that lists what is pinned, where that is elsewhere.
    """
    if isinstance(error, PinMismatch):
        reason, cause = "PinMismatch", str(error.args[0])
    elif isinstance(error, ssl.SSLCertVerificationError):
        reason = _VERIFY_REASONS.get(error.verify_code, "CertificateRefused")
        cause = error.verify_message.rstrip(".")
    elif error.reason in ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"):
        reason, cause = "TLSVersion", "it speaks no version of TLS that is allowed here"
    elif error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        reason, cause = "TLSVersion", "it does not speak TLS on this port"
    elif error.reason in _ALERTS:
        reason = _ALERTS[error.reason]
        cause = _CAUSES[reason] + f" (its alert: {error.reason.partition('ALERT_')[2].replace('_', ' ').lower()})"
    else:
        return None
    return _told(host, reason, cause, where, pins)


def turned_away(host: str, page: bytes, *, where: str = "spec.transfer.tls") -> CertificateRefused | None:
    """What the `page` of an answer 400 of `host` says of our certificate; None where it says nothing of it."""
    reason = next((reason for words, reason in _PAGES.items() if words in page), None)
    return _told(host, reason, f"{_CAUSES[reason]} (it answered 400)", where) if reason else None


def _told(host: str, reason: str, cause: str, where: str, pins: str = "") -> CertificateRefused:
    way_out = _WAYS_OUT[reason].format(where=where, pins=pins or f"{where}.pins")
    return CertificateRefused(f"{host}: {cause}; {way_out}", reason=reason)
