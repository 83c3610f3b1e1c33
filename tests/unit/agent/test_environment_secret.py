"""The source's credentials from the environment: where they are looked for, and what is said about wrong ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelferry.agent.environment_secret import environment_secret
from modelferry.agent.secrets import Secrets
from modelferry.agent.source_route import source_routes
from modelferry.errors import InvalidSpec
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.source import HTTPFile, HTTPSource, HuggingFaceSource, ModelScopeSource, Source
from modelferry.resource.spec import Spec

HUB, SCOPE, BUCKET = HuggingFaceSource("a/b"), ModelScopeSource("a/b"), S3Source("bucket")
REGISTRY, FILES = OCISource("h.example", "m", "v1"), HTTPSource((HTTPFile("a", "https://h.example/a"),))
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "planted"}


def found(source: Source, environment: Mapping[str, str], token_variable: str = "") -> dict[str, str]:
    secret = environment_secret(source, environment, token_variable)
    return {} if secret is None else dict(secret.data)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def docker(host: str, **entry: str) -> str:
    return json.dumps({"auths": {host: entry}})


LOGIN = {"auth": base64.b64encode(b"me:planted").decode()}


def test_without_any_there_are_none(tmp_path: Path) -> None:
    for source in (HUB, SCOPE, BUCKET, REGISTRY, FILES):
        assert environment_secret(source, {"HOME": str(tmp_path)}) is None


def test_a_hub_s_token_is_that_of_its_own_client(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    write(tmp_path / ".cache/huggingface/token", "stored\n")
    assert found(HUB, home) == {"token": "stored"}
    assert found(HUB, home | {"XDG_CACHE_HOME": str(tmp_path / "none")}) == {}
    write(tmp_path / "other/token", "other")
    assert found(HUB, home | {"HF_HOME": str(tmp_path / "other")}) == {"token": "other"}
    assert found(HUB, {"HF_TOKEN_PATH": str(tmp_path / "other/token")}) == {"token": "other"}
    assert found(HUB, home | {"HF_TOKEN": "\ufeffset\r\n"}) == {"token": "set"}
    assert found(SCOPE, {"MODELSCOPE_API_TOKEN": "t"}) == {"token": "t"}


def test_a_token_may_be_in_any_variable(tmp_path: Path) -> None:
    assert found(FILES, {"CIVITAI": "t"}, "CIVITAI") == {"token": "t"}
    assert found(HUB, {"HF_TOKEN": "a", "MINE": "b"}, "MINE") == {"token": "b"}
    with pytest.raises(InvalidSpec, match=r"the environment variable CIVITAI is not set; export it"):
        environment_secret(FILES, {}, "CIVITAI")
    with pytest.raises(InvalidSpec, match=r"a bucket and a registry have no token"):
        environment_secret(BUCKET, {"X": "t"}, "X")


def test_a_bucket_s_keys_are_those_of_the_aws_tools(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    read = {"accessKeyID": "id", "secretAccessKey": "planted"}
    assert found(BUCKET, KEYS) == read
    assert found(BUCKET, KEYS | {"AWS_SESSION_TOKEN": "s"}) == read | {"sessionToken": "s"}
    write(
        tmp_path / ".aws/credentials",
        "[default]\naws_access_key_id = id\naws_secret_access_key = planted\n"
        "[work]\naws_access_key_id=w\naws_secret_access_key=p%\naws_session_token=s\n[sso]\nsso_session = x\n",
    )
    assert found(BUCKET, home) == read
    assert found(BUCKET, home | {"AWS_PROFILE": "work"}) == {
        "accessKeyID": "w",
        "secretAccessKey": "p%",
        "sessionToken": "s",
    }
    assert found(BUCKET, home | {"AWS_PROFILE": "sso"}) == {}
    assert found(BUCKET, home | KEYS | {"AWS_ACCESS_KEY_ID": "mine"})["accessKeyID"] == "mine"
    # The web identity of a pod goes first, as in the AWS tools.
    assert found(BUCKET, home | {"AWS_ROLE_ARN": "arn", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}) == {}


def test_half_a_pair_of_keys_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="AWS_SECRET_ACCESS_KEY is not set, and its pair is; export both"):
        environment_secret(BUCKET, {"AWS_ACCESS_KEY_ID": "id"})


def test_a_registry_s_login_is_docker_s_if_it_has_one_for_the_host(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    write(tmp_path / ".docker/config.json", docker("h.example", **LOGIN))
    assert set(found(REGISTRY, home)) == {".dockerconfigjson"}
    assert found(OCISource("other.example", "m", "v1"), home) == {}
    write(tmp_path / "elsewhere/config.json", json.dumps({"auths": {"h.example": {}}, "credsStore": "desktop"}))
    assert found(REGISTRY, home | {"DOCKER_CONFIG": str(tmp_path / "elsewhere")}) == {}
    write(tmp_path / "elsewhere/config.json", json.dumps({"psFormat": "x"}))
    assert found(REGISTRY, home | {"DOCKER_CONFIG": str(tmp_path / "elsewhere")}) == {}


@pytest.mark.parametrize(
    ("source", "file", "content", "said"),
    [
        (REGISTRY, ".docker/config.json", b"{planted", "config.json is not JSON; log in again with docker login"),
        (BUCKET, ".aws/credentials", b"planted", "this is not a credentials file of AWS"),
        (HUB, ".cache/huggingface/token", b"\xffplanted", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_without_its_content(
    tmp_path: Path, source: Source, file: str, content: bytes, said: str
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidSpec) as caught:
        environment_secret(source, {"HOME": str(tmp_path)})
    assert said in caught.value.message
    assert str(tmp_path / file) in caught.value.message
    assert "planted" not in caught.value.message


@pytest.mark.parametrize(
    ("source", "environment", "place"),
    [
        (HUB, {"HF_TOKEN": "pl4nted\nsecond"}, "the environment variable HF_TOKEN"),
        (BUCKET, KEYS | {"AWS_ACCESS_KEY_ID": "pl4nted\x07id"}, "the environment variable AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_value_that_cannot_be_sent_is_named_by_its_variable(
    source: Source, environment: dict[str, str], place: str
) -> None:
    secret = environment_secret(source, environment)
    with pytest.raises(InvalidSpec) as caught:
        source_routes(Spec(source), (), Secrets(None), login=secret)
    assert caught.value.message.startswith(f"the source's credentials: {place} ")
    assert (caught.value.reason, "pl4nted" in caught.value.message) == ("BadCredentials", False)


async def test_the_token_goes_to_the_source_s_host_alone() -> None:
    secret = environment_secret(HUB, {"HF_TOKEN": "t"})
    credential = source_routes(Spec(HUB), (), Secrets(None), login=secret).for_mirror("source").credential
    assert await credential.headers("https://huggingface.co/a") == (("Authorization", "Bearer t"),)
    assert await credential.headers("https://cdn.example.com/a") == ()
