"""From a spec and its Secret's keys to the credentials of buckets and registries."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from modelferry.agent.secrets import Secret
from modelferry.errors import InvalidSpec
from modelferry.http.auth.aws import Role, Signed, WebIdentity
from modelferry.http.auth.credentials import ANONYMOUS, Credential, StaticCredential, basic
from modelferry.http.auth.registry_token import RegistryToken, login_in
from modelferry.http.auth.sigv4 import Keys
from modelferry.resource.object_stores import OCISource, S3Source

_KEYS = ("accessKeyID", "secretAccessKey")
_DOCKER = ".dockerconfigjson"


def of_bucket(source: S3Source, secret: Secret | None) -> Credential:
    """Keys from `secret`; without one the pod's web identity, as Amazon's tools find it, or nobody.

    Raises InvalidSpec where the Secret has no keys.
    """
    if secret is not None:
        return Signed(keys_of(secret), source.region, now)
    arn, file = os.environ.get("AWS_ROLE_ARN"), os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not arn or not file:
        return ANONYMOUS
    service = os.environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{source.region}.amazonaws.com"
    return WebIdentity(Role(arn, Path(file), service.rstrip("/")), source.region, now)


def keys_of(secret: Secret) -> Keys:
    """The keys in a Secret. Raises InvalidSpec where they are not there."""
    data = secret.data
    if not all(data.get(key) for key in _KEYS):
        raise secret.lacks("accessKeyID and secretAccessKey (and sessionToken for temporary keys)")
    return Keys(data["accessKeyID"], data["secretAccessKey"], data.get("sessionToken", ""))


def of_registry(source: OCISource, secret: Secret | None, *, plain_http: bool) -> Credential:
    """User and password from `secret`, or nobody. Raises InvalidSpec where the Secret has none for it."""
    login = _login(source, secret) if secret is not None else None
    return RegistryToken(login, hosts=secret.hosts if secret else frozenset(), plain_http=plain_http)


def _login(source: OCISource, secret: Secret) -> StaticCredential:
    data = secret.data
    if data.get("username") and data.get("password"):
        return basic(data["username"], data["password"])
    if _DOCKER not in data:
        raise secret.lacks(f"username and password, or {_DOCKER}")
    try:
        login = login_in(data[_DOCKER], source.host)
    except ValueError as error:
        why = "is not JSON" if isinstance(error, UnicodeError) or type(error) is not ValueError else str(error)
        raise InvalidSpec(f"spec.auth: key {_DOCKER!r} of the Secret {why}", reason="SecretMissing") from None
    if login is None:
        raise InvalidSpec(
            f"spec.auth: key {_DOCKER!r} of the Secret names no user and password for {source.host}; add them with"
            " kubectl create secret docker-registry --docker-server",
            reason="SecretMissing",
        )
    return login


def now() -> datetime:
    """What signatures are made with."""
    return datetime.now(UTC)
