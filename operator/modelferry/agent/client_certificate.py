"""The client certificate of an agent, out of a Secret of the type kubernetes.io/tls."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from modelferry.agent.secrets import Secret, Secrets
from modelferry.errors import InvalidSpec
from modelferry.http.tls.der import first_pem, validity

#: The keys of such a Secret.
CERTIFICATE, KEY = "tls.crt", "tls.key"


def identify(context: ssl.SSLContext, name: str, secrets: Secrets, where: str) -> Secret:
    """Have `context` show the certificate in Secret `name`, which the field `where` refers to, to whoever asks.

    Returns the Secret. Raises InvalidSpec, with the reason SecretMissing where it or a key of it is not there,
    ClientCertificateExpired, ClockSkew where the certificate is not valid yet, and else ClientCertificateInvalid.
    """
    secret = secrets.read(name, where)
    if missing := [key for key in (CERTIFICATE, KEY) if not secret.data.get(key)]:
        raise secret.lacks(" and ".join(missing))
    _check_time(secret, datetime.now(UTC))
    _load(context, secrets.file(name, CERTIFICATE), secrets.file(name, KEY), secret)
    return secret


def _check_time(secret: Secret, now: datetime) -> None:
    try:
        begins, ends = validity(ssl.PEM_cert_to_DER_cert(first_pem(secret.data[CERTIFICATE]) or ""))
    except (ValueError, IndexError):
        raise _invalid(
            secret, f"its {CERTIFICATE} is no certificate in PEM; put the certificate and its chain there"
        ) from None
    if now > ends:
        raise InvalidSpec(
            f"{_of(secret)}: the certificate expired on {ends:%Y-%m-%d %H:%M} UTC, and this machine's clock says"
            f" {now:%Y-%m-%d %H:%M}; put a renewed one there",
            reason="ClientCertificateExpired",
        )
    if now < begins:
        raise InvalidSpec(
            f"{_of(secret)}: the certificate is not valid before {begins:%Y-%m-%d %H:%M} UTC, and this machine's clock"
            f" says {now:%Y-%m-%d %H:%M}; check this machine's clock",
            reason="ClockSkew",
        )


def _load(context: ssl.SSLContext, certificate: Path, key: Path, secret: Secret) -> None:
    def refuse() -> str:
        # Without this OpenSSL would ask on the terminal.
        raise _invalid(secret, f"its {KEY} is encrypted; put the key there without a passphrase")

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        # The last is how OpenSSL calls a key of another kind.
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise _invalid(secret, f"its {KEY} is not the key of its {CERTIFICATE}; put a pair there") from None
        raise _invalid(secret, f"its {CERTIFICATE} or {KEY} cannot be read as PEM; put the pair there again") from None
    except OSError as error:
        raise _invalid(secret, f"{error.strerror}; give it the keys {CERTIFICATE} and {KEY}") from None


def _of(secret: Secret) -> str:
    return f"{secret.where}: Secret {secret.name!r}"


def _invalid(secret: Secret, why: str) -> InvalidSpec:
    return InvalidSpec(f"{_of(secret)}: {why}", reason="ClientCertificateInvalid")
