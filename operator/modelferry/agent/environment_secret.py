"""The source's credentials from the environment, where its own tools keep them, instead of from a Secret.

huggingface_hub: HF_TOKEN, or what ``hf auth login`` stored. ModelScope: MODELSCOPE_API_TOKEN. AWS: its variables, or
the shared credentials file. Registries: Docker's config.json. No value is ever an argument of a command.
"""

from __future__ import annotations

import argparse
import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelferry.agent.secrets import Secret
from modelferry.errors import InvalidSpec
from modelferry.http.auth.credentials import without_editor_marks
from modelferry.http.auth.registry_token import docker_login
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.source import HTTPSource, HuggingFaceSource, ModelScopeSource, Source

_FIELD = "the source's credentials"
_DOCKER_CONFIG = ".dockerconfigjson"
#: The place of a value, before the variable's name.
VARIABLE = "the environment variable "


@dataclass(frozen=True, slots=True)
class Found:
    """``value``, and the ``place`` where it was found, for messages."""

    value: str
    place: str


def add_environment_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--auth-from-env`` and ``--token-env``."""
    help_ = (
        "take the source's credentials from the environment (HF_TOKEN, AWS_ACCESS_KEY_ID, Docker's config.json, …), and"
        " not from the Secret in spec.auth"
    )
    parser.add_argument("--auth-from-env", action="store_true", help=help_)
    help_ = "the same, with the token in this environment variable"
    parser.add_argument("--token-env", default="", metavar="VARIABLE", help=help_)


def environment_secret(source: Source, environment: Mapping[str, str], token_variable: str = "") -> Secret | None:
    """The credentials for `source` in `environment`, and in the files that it leads to; None if there are none.

    `token_variable`: the variable with the token, instead of the usual one. Raises InvalidSpec if that is not set, or
    if what was found cannot be used.
    """
    if token_variable:
        if isinstance(source, S3Source | OCISource):
            raise InvalidSpec("--token-env: a bucket and a registry have no token; leave the option out")
        if not environment.get(token_variable):
            raise InvalidSpec(f"--token-env: the environment variable {token_variable} is not set; export it")
        return _secret({"token": _variable(environment, token_variable)})
    match source:
        case HuggingFaceSource():
            return _secret({"token": _hub_token(environment)})
        case ModelScopeSource():
            return _secret({"token": _variable(environment, "MODELSCOPE_API_TOKEN")})
        case S3Source():
            return _secret(_access_keys(environment))
        case OCISource(host=host):
            return _secret({_DOCKER_CONFIG: _docker_config(environment, host)})
        case HTTPSource():
            return None


def places(source: Source) -> str:
    """Where `environment_secret` looks for credentials, for a message."""
    match source:
        case HuggingFaceSource():
            return "HF_TOKEN, or `hf auth login`"
        case ModelScopeSource():
            return "MODELSCOPE_API_TOKEN"
        case S3Source():
            return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials"
        case OCISource():
            return "`docker login`, unless Docker keeps them in a credential store"
        case HTTPSource():
            return "the variable that --token-env names"


def _secret(found: Mapping[str, Found | None]) -> Secret | None:
    kept = {key: one for key, one in found.items() if one is not None and one.value}
    if not kept:
        return None
    data = {key: without_editor_marks(one.value) for key, one in kept.items()}
    return Secret("", _FIELD, data, {key: one.place for key, one in kept.items()})


def _variable(environment: Mapping[str, str], name: str) -> Found | None:
    value = environment.get(name)
    return Found(value, f"{VARIABLE}{name}") if value else None


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or "~").expanduser()


def _file(path: Path) -> Found | None:
    """The text of `path`; None if there is no such file. Raises InvalidSpec if it cannot be read."""
    try:
        return Found(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidSpec(f"{_FIELD}: {path}: {cause}; correct the file, or move it away") from None


def _hub_token(environment: Mapping[str, str]) -> Found | None:
    if found := _variable(environment, "HF_TOKEN"):
        return found
    cache = environment.get("XDG_CACHE_HOME") or _home(environment) / ".cache"
    home = environment.get("HF_HOME") or Path(cache) / "huggingface"
    return _file(Path(environment.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser())


def _access_keys(environment: Mapping[str, str]) -> dict[str, Found | None]:
    names = {"accessKeyID": "AWS_ACCESS_KEY_ID", "secretAccessKey": "AWS_SECRET_ACCESS_KEY"}
    found = {key: _variable(environment, name) for key, name in names.items()}
    missing = [names[key] for key, one in found.items() if one is None]
    if not missing:
        return found | {"sessionToken": _variable(environment, "AWS_SESSION_TOKEN")}
    if len(missing) == 1:
        raise InvalidSpec(f"{_FIELD}: the environment variable {missing[0]} is not set, and its pair is; export both")
    if environment.get("AWS_ROLE_ARN") and environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return {}  # the web identity, which `bucket_credential` finds
    return _shared_credentials(environment)


def _shared_credentials(environment: Mapping[str, str]) -> dict[str, Found | None]:
    """The keys that ``aws configure`` stored, of the profile AWS_PROFILE."""
    given = environment.get("AWS_SHARED_CREDENTIALS_FILE")
    path = Path(given).expanduser() if given else _home(environment) / ".aws" / "credentials"
    file, profile = _file(path), environment.get("AWS_PROFILE") or "default"
    if file is None:
        return {}
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.value)
    except configparser.Error:
        raise InvalidSpec(f"{_FIELD}: {path}: this is not a credentials file of AWS; correct it") from None
    if not parser.get(profile, "aws_secret_access_key", fallback=""):
        return {}
    names = {
        "accessKeyID": "aws_access_key_id",
        "secretAccessKey": "aws_secret_access_key",
        "sessionToken": "aws_session_token",
    }
    place = f"{path}, profile {profile},"
    return {key: Found(parser.get(profile, name, fallback=""), f"{name} in {place}") for key, name in names.items()}


def _docker_config(environment: Mapping[str, str], host: str) -> Found | None:
    """Docker's config.json if it has a login for `host`."""
    directory = environment.get("DOCKER_CONFIG") or _home(environment) / ".docker"
    file = _file(Path(directory) / "config.json")
    if file is None:
        return None
    try:
        return file if docker_login(file.value, host) is not None else None
    except ValueError as error:
        # A config without auths is one of a user who never logged in.
        if str(error) == "has no auths":
            return None
        cause = "is not JSON" if type(error) is not ValueError else str(error)
        raise InvalidSpec(f"{_FIELD}: {file.place} {cause}; log in again with docker login") from None
