"""A client certificate from a Secret: loaded if it is valid, else an error that names the cause."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from modelferry.agent.client_certificate import load_client_certificate
from modelferry.agent.secrets import Secrets
from modelferry.agent.trust_bundle import client_identity
from modelferry.errors import InvalidSpec
from modelferry.http.routes import Route
from modelferry.http.tls.contexts import client_context
from modelferry.resource.secret import SecretReference
from modelferry.resource.transfer import TLS
from origin.certs import CLIENT, Authority

DAY = timedelta(days=1)
TLS_WITH_ONE = TLS(client=SecretReference("who"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secret(authority: Authority, tmp_path: Path) -> Path:
    """The Secret `who`, which is valid."""
    return authority.leaf("me", name="me", purpose=CLIENT).secret(tmp_path / "secrets/who")


def found(secret: Path) -> ssl.SSLContext:
    context = client_context()
    load_client_certificate(context, "who", Secrets(secret.parent), "spec.transfer.tls.clientCertificate")
    return context


def another_key(secret: Path) -> None:
    key = Authority(secret.parent, "other").leaf("x", name="other").key
    (secret / "tls.key").write_bytes(key.read_bytes())


def key_of_another_kind(secret: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (secret / "tls.key").write_bytes(key.private_bytes(*form))


def passphrase(secret: Path) -> None:
    key = serialization.load_pem_private_key((secret / "tls.key").read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"planted")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    (secret / "tls.key").write_bytes(key.private_bytes(*form))


def certificate_in_der(secret: Path) -> None:
    (secret / "tls.crt").write_text("MIIBszCCAVmgAwIBAgIU")


def nonsense_in_pem(secret: Path) -> None:
    (secret / "tls.crt").write_text("-----BEGIN CERTIFICATE-----\nMIIBszCC\n-----END CERTIFICATE-----\n")


def no_key_at_all(secret: Path) -> None:
    (secret / "tls.key").write_text("hello")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (another_key, "tls.key is not the key of its tls.crt"),
        (key_of_another_kind, "tls.key is not the key of its tls.crt"),
        (passphrase, "tls.key is encrypted"),
        (certificate_in_der, "tls.crt is not a certificate in PEM"),
        (nonsense_in_pem, "tls.crt is not a certificate in PEM"),
        (no_key_at_all, "tls.crt or tls.key cannot be read as PEM"),
    ],
)
def test_a_pair_that_is_none_is_told(secret: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(secret)
    with pytest.raises(
        InvalidSpec, match=rf"^spec\.transfer\.tls\.clientCertificate: Secret 'who': its {says}"
    ) as caught:
        found(secret)
    assert caught.value.reason == "ClientCertificateInvalid"
    assert caught.value.__cause__ is None
    assert "BEGIN" not in caught.value.message


@pytest.mark.parametrize("key", ["tls.crt", "tls.key"])
def test_a_key_that_the_secret_lacks_is_named(secret: Path, key: str) -> None:
    (secret / key).unlink()
    with pytest.raises(
        InvalidSpec, match=r"clientCertificate: Secret 'who' has the keys tls\.\w+; give it tls\."
    ) as caught:
        found(secret)
    assert caught.value.reason == "SecretMissing"
    assert caught.value.message.endswith(f"give it {key}")


@pytest.mark.parametrize(
    ("begins", "ends", "reason", "says"),
    [
        (-2 * DAY, -DAY, "ClientCertificateExpired", "expired on .* put a renewed one there"),
        (DAY, 2 * DAY, "ClockSkew", "not valid before .* check this machine's clock"),
    ],
)
def test_a_certificate_out_of_its_time_is_told_before_any_server_is_asked(
    authority: Authority, tmp_path: Path, begins: timedelta, ends: timedelta, reason: str, says: str
) -> None:
    leaf = authority.leaf("me", name="late", begins=begins, ends=ends, purpose=CLIENT)
    with pytest.raises(InvalidSpec, match=says) as caught:
        found(leaf.secret(tmp_path / "secrets/who"))
    assert caught.value.reason == reason


def test_a_chain_with_words_around_it_is_taken(secret: Path, authority: Authority) -> None:
    leaf = (secret / "tls.crt").read_text()
    (secret / "tls.crt").write_text(f"subject: me\n{leaf}issuer: us\n{authority.ca_file.read_text()}")
    assert isinstance(found(secret), ssl.SSLContext)


def test_it_is_for_the_sources_host_or_for_those_in_allowed_hosts(secret: Path, authority: Authority) -> None:
    def shown(url: str) -> bool:
        own = frozenset({"h.example:8443"})
        identity = client_identity(TLS_WITH_ONE, [authority.ca_file], Secrets(secret.parent), lambda field: own)
        route = Route(client_context(), identity=identity)
        return route.trust(url) is not route.context

    asked = [f"https://{server}/a" for server in ("h.example:8443", "h.example", "cdn.example", "a.cdn.example")]
    assert list(map(shown, asked)) == [True, False, False, False]
    (secret / "allowedHosts").write_text("H.example, cdn.example\n")
    assert list(map(shown, asked)) == [True, True, True, False]
