"""Loads an agent's client certificate from a Secret of the type kubernetes.io/tls."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from modelferry.agent.secrets import Secret, Secrets
from modelferry.errors import InvalidSpec
from modelferry.http.tls.der import first_pem, validity

#: The keys of such a Secret.
CERTIFICATE, KEY = "tls.crt", "tls.key"


def load_client_certificate(context: ssl.SSLContext, name: str, secrets: Secrets, field: str) -> Secret:
    """Load the certificate in Secret `name`, to which the field `field` refers, into `context`.

    Returns the Secret. Raises InvalidSpec with the reason SecretMissing (the Secret or a key is missing),
    ClientCertificateExpired, ClockSkew (the certificate is not valid yet) or ClientCertificateInvalid.
    """
    secret = secrets.read(name, field)
    if missing := [key for key in (CERTIFICATE, KEY) if not secret.data.get(key)]:
        raise secret.missing_keys(" and ".join(missing))
    _check_validity(secret, datetime.now(UTC))
    _load(context, secrets.file(name, CERTIFICATE), secrets.file(name, KEY), secret)
    return secret


def _check_validity(secret: Secret, now: datetime) -> None:
    try:
        not_before, not_after = validity(ssl.PEM_cert_to_DER_cert(first_pem(secret.data[CERTIFICATE]) or ""))
    except (ValueError, IndexError):
        raise _invalid(
            secret, f"its {CERTIFICATE} is not a certificate in PEM; put the certificate and its chain there"
        ) from None
    if now > not_after:
        raise InvalidSpec(
            f"{_described(secret)}: the certificate expired on {not_after:%Y-%m-%d %H:%M} UTC, and this machine's clock"
            f" says {now:%Y-%m-%d %H:%M}; put a renewed one there",
            reason="ClientCertificateExpired",
        )
    if now < not_before:
        raise InvalidSpec(
            f"{_described(secret)}: the certificate is not valid before {not_before:%Y-%m-%d %H:%M} UTC, and this"
            f" machine's clock says {now:%Y-%m-%d %H:%M}; check this machine's clock",
            reason="ClockSkew",
        )


def _load(context: ssl.SSLContext, certificate: Path, key: Path, secret: Secret) -> None:
    def refuse_password() -> str:
        # Without this, OpenSSL would prompt on the terminal.
        raise _invalid(secret, f"its {KEY} is encrypted; put the key there without a passphrase")

    try:
        context.load_cert_chain(certificate, key, password=refuse_password)
    except ssl.SSLError as error:
        # OpenSSL reports the last one for a key of another type.
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise _invalid(
                secret, f"its {KEY} is not the key of its {CERTIFICATE}; put a matching pair there"
            ) from None
        raise _invalid(secret, f"its {CERTIFICATE} or {KEY} cannot be read as PEM; put the pair there again") from None
    except OSError as error:
        raise _invalid(secret, f"{error.strerror}; give it the keys {CERTIFICATE} and {KEY}") from None


def _described(secret: Secret) -> str:
    return f"{secret.field}: Secret {secret.name!r}"


def _invalid(secret: Secret, cause: str) -> InvalidSpec:
    return InvalidSpec(f"{_described(secret)}: {cause}", reason="ClientCertificateInvalid")
