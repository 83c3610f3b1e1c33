"""The credentials for buckets and registries, from a spec and the keys of its Secret."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from modelferry.agent.secrets import Secret
from modelferry.errors import InvalidSpec
from modelferry.http.auth.aws import Role, SigV4Credential, WebIdentity
from modelferry.http.auth.credentials import ANONYMOUS, Credential, StaticCredential, basic
from modelferry.http.auth.registry_token import RegistryToken, docker_login
from modelferry.http.auth.sigv4 import Keys
from modelferry.resource.object_stores import OCISource, S3Source

_ACCESS_KEYS = ("accessKeyID", "secretAccessKey")
_DOCKER_CONFIG = ".dockerconfigjson"


def bucket_credential(source: S3Source, secret: Secret | None) -> Credential:
    """The access keys in `secret`. Without a Secret: the pod's web identity, found as the AWS SDKs find it, or
    anonymous.

    Raises InvalidSpec if the Secret has no access keys.
    """
    if secret is not None:
        return SigV4Credential(access_keys(secret), source.region, utc_now)
    arn, file = os.environ.get("AWS_ROLE_ARN"), os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not arn or not file:
        return ANONYMOUS
    endpoint = os.environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{source.region}.amazonaws.com"
    return WebIdentity(Role(arn, Path(file), endpoint.rstrip("/")), source.region, utc_now)


def access_keys(secret: Secret) -> Keys:
    """The access keys in a Secret. Raises InvalidSpec if it has none."""
    data = secret.data
    if not all(data.get(key) for key in _ACCESS_KEYS):
        raise secret.missing_keys("accessKeyID and secretAccessKey (and sessionToken for temporary keys)")
    return Keys(secret.word("accessKeyID"), secret.word("secretAccessKey"), secret.word("sessionToken"))


def registry_credential(source: OCISource, secret: Secret | None, *, plain_http: bool) -> Credential:
    """The registry's token for the user in `secret`, or anonymous. Raises InvalidSpec if the Secret has no user for
    the registry."""
    login = _login(source, secret) if secret is not None else None
    return RegistryToken(login, hosts=secret.hosts if secret else frozenset(), plain_http=plain_http)


def _login(source: OCISource, secret: Secret) -> StaticCredential:
    data = secret.data
    if data.get("username") and data.get("password"):
        return basic(*secret.login())
    if _DOCKER_CONFIG not in data:
        raise secret.missing_keys(f"username and password, or {_DOCKER_CONFIG}")
    try:
        login = docker_login(data[_DOCKER_CONFIG], source.host)
    except ValueError as error:
        cause = "is not JSON" if type(error) is not ValueError else str(error)
        raise secret.invalid(_DOCKER_CONFIG, cause) from None
    if login is None:
        raise InvalidSpec(
            f"{secret.field}: key {_DOCKER_CONFIG!r} of Secret {secret.name!r} has no user and password for"
            f" {source.host}; add them with kubectl create secret docker-registry --docker-server",
            reason="SecretMissing",
        )
    return login


def utc_now() -> datetime:
    """The clock for request signatures."""
    return datetime.now(UTC)
