"""TLS contexts: 1.3 or newer unless configured otherwise, host name and chain always verified; certificate errors."""

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

#: Alerts by which a server reports what is wrong with the client certificate (RFC 8446 section 6.2), as OpenSSL names
#: them.
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

#: nginx, and what is built on it, accepts the handshake and reports it in a page of status 400 (its own 496 and 495).
_PAGES = {
    b"No required SSL certificate was sent": "ClientCertificateRequired",
    b"The SSL certificate error": "ClientCertificateRefused",
}

_REMEDIES = {
    "ClockSkew": "check this machine's clock",
    "CertificateExpired": "renew the server's certificate",
    "UnknownAuthority": "add the authority to the trusted CA bundle",
    "HostMismatch": "use a host name that the certificate lists",
    "TLSVersion": 'enable TLS 1.3 on the server, or set {field}.minVersion to "1.2"',
    "CertificateRefused": "check the server's certificate",
    "PinMismatch": "if the server's certificate was renewed, add its pin to {pins_field}",
    "ClientCertificateRequired": "name a Secret with one in {field}.clientCertificate (it is sent to the source's host"
    " alone, or to those in the Secret's key allowedHosts)",
    "ClientCertificateRefused": "put one that it accepts, and its chain, into the Secret of {field}.clientCertificate",
}

_CAUSES = {
    "ClientCertificateRequired": "it requires a client certificate, and received none",
    "ClientCertificateRefused": "it does not accept the client certificate",
}

#: Values of `client_context`'s `oldest`.
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(*ca_files: Path, oldest: str = "1.3", pins: Sequence[str] = ()) -> ssl.SSLContext:
    """A verifying context for TLS `oldest` or newer that trusts the system's authorities and those in `ca_files` (PEM).

    With `pins`, a server's certificate or key must also be one of them (`tls.pinning`). SSL_CERT_FILE, which OpenSSL
    reads itself, replaces the system's authorities. Raises InvalidSpec where a file is not a bundle.
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


def certificate_error(
    host: str, error: ssl.SSLError, *, field: str = "spec.transfer.tls", pins_field: str = ""
) -> CertificateRefused | None:
    """What a failed handshake with `host` says about its certificate, its version, or the client's certificate; None
    where it says nothing (a reset).

    `field`: the field of the spec with the TLS settings; `pins_field`: the one with the pins, where that is elsewhere.
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
    return _refused(host, reason, cause, field, pins_field)


def client_certificate_error(host: str, page: bytes, *, field: str = "spec.transfer.tls") -> CertificateRefused | None:
    """What the `page` of a response 400 of `host` says about the client certificate; None where it says nothing."""
    reason = next((reason for words, reason in _PAGES.items() if words in page), None)
    return _refused(host, reason, f"{_CAUSES[reason]} (it answered 400)", field) if reason else None


def _refused(host: str, reason: str, cause: str, field: str, pins_field: str = "") -> CertificateRefused:
    remedy = _REMEDIES[reason].format(field=field, pins_field=pins_field or f"{field}.pins")
    return CertificateRefused(f"{host}: {cause}; {remedy}", reason=reason)
