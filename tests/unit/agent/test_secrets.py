"""What editors and shells leave in a Secret's values, and what no request can carry."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modelferry.agent.secrets import Secrets
from modelferry.agent.source_route import source_routes
from modelferry.agent.store_credentials import access_keys, registry_credential
from modelferry.errors import InvalidSpec
from modelferry.http.auth.credentials import HeaderFields, Rejection
from modelferry.resource import transfer
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.secret import SecretReference
from modelferry.resource.source import HTTPFile, HTTPSource, ModelScopeSource
from modelferry.resource.spec import Spec

URL = "https://h/a"
WHO = SecretReference("who")
HTTP, MODELSCOPE = HTTPSource((HTTPFile("a", URL),)), ModelScopeSource("a/b", endpoint="https://h")
S3, OCI = S3Source("b", "", "us-east-1"), OCISource("h", "m", "v1")
#: What Notepad, `echo`, a Windows shell and a browser's clipboard add.
AROUND = [("", "\n"), ("", "\r\n"), ("\ufeff", ""), ("\ufeff", "\r\n\r\n"), (" ", "\t\n"), ("\u200b", "\u00a0")]
TOKEN, LOGIN = {"token": "planted"}, {"username": "me", "password": "planted"}
KEYS = {"accessKeyID": "id", "secretAccessKey": "planted", "sessionToken": "session"}


def secrets(root: Path, **keys: str) -> Secrets:
    (root / "who").mkdir()
    for name, value in keys.items():
        (root / "who" / name).write_bytes(value.encode())
    return Secrets(root)


def docker(username: str, password: str) -> str:
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    return json.dumps({"auths": {"h": {"auth": auth}}})


async def shown(spec: Spec, found: Secrets) -> HeaderFields:
    """The fields that a request for `URL` carries."""
    return await source_routes(spec, (), found).for_mirror("source").credential.headers(URL)


@pytest.mark.parametrize(("before", "after"), AROUND)
async def test_what_an_editor_adds_is_not_part_of_the_credential(tmp_path: Path, before: str, after: str) -> None:
    """podalize#8: a Hugging Face token whose file ends in a line end."""

    def around(keys: dict[str, str]) -> dict[str, str]:
        return {key: before + value + after for key, value in keys.items()}

    cases: list[tuple[Any, dict[str, str], HeaderFields]] = [
        (HTTP, TOKEN, (("Authorization", "Bearer planted"),)),
        (MODELSCOPE, TOKEN, (("Authorization", "Bearer planted"), ("Cookie", "m_session_id=planted"))),
        (HTTP, LOGIN, (("Authorization", "Basic " + base64.b64encode(b"me:planted").decode()),)),
    ]
    for number, (source, keys, expected) in enumerate(cases):
        root = tmp_path / str(number)
        root.mkdir()
        assert await shown(Spec(source, auth=WHO), secrets(root, **around(keys))) == expected
    found = access_keys(secrets(tmp_path, **around(KEYS)).read("who", "spec.auth"))
    assert (found.id, found.secret, found.token) == ("id", "planted", "session")


@pytest.mark.parametrize("text", [docker("me", "planted"), "\ufeff" + docker("me", "planted\n") + "\r\n"])
async def test_a_docker_config_and_the_password_in_it_lose_it_too(tmp_path: Path, text: str) -> None:
    """podalize#8: `echo user:password | base64` puts the line end into the value."""
    secret = secrets(tmp_path, **{".dockerconfigjson": text}).read("who", "spec.auth")
    credential = registry_credential(OCI, secret, plain_http=False)

    async def send(url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
        raise AssertionError(url)

    assert await credential.renew(Rejection(URL, 'Basic realm="h"'), send)
    expected = "Basic " + base64.b64encode(b"me:planted").decode()
    assert await credential.headers(URL) == (("Authorization", expected),)


@pytest.mark.parametrize(
    ("source", "keys", "key", "cause"),
    [
        (HTTP, {"token": "planted\nsecond"}, "token", "a line end"),
        (HTTP, {"token": "planted\r\nX-Evil: 1"}, "token", "a line end"),
        (HTTP, {"token": "plantéd"}, "token", "not ASCII"),
        (HTTP, {"token": "planted\u2026"}, "token", "not ASCII"),
        (HTTP, {"token": "planted\0"}, "token", "a control character"),
        (MODELSCOPE, {"token": "planted\nsecond"}, "token", "a line end"),
        (HTTP, {"username": "me\nyou", "password": "planted"}, "username", "a line end"),
        (HTTP, {"username": "me:you", "password": "planted"}, "username", "a colon"),
        (HTTP, {"username": "me", "password": "planted\nsecond"}, "password", "a line end"),
        (S3, KEYS | {"accessKeyID": "i\nd"}, "accessKeyID", "a line end"),
        (S3, KEYS | {"secretAccessKey": "plantéd"}, "secretAccessKey", "not ASCII"),
        (S3, KEYS | {"sessionToken": "session\nplanted"}, "sessionToken", "a line end"),
        (OCI, {"username": "me", "password": "planted\nsecond"}, "password", "a line end"),
        (OCI, {".dockerconfigjson": docker("me", "planted\nsecond")}, ".dockerconfigjson", "a line end"),
        (OCI, {".dockerconfigjson": docker("me", "planted\0")}, ".dockerconfigjson", "a control character"),
    ],
)
def test_what_no_request_can_carry_is_named_by_its_key(
    tmp_path: Path, source: Any, keys: dict[str, str], key: str, cause: str
) -> None:
    """podalize#8: a second line was sent, and what is not ASCII ended in a traceback."""
    with pytest.raises(InvalidSpec) as wrong:
        source_routes(Spec(source, auth=WHO), (), secrets(tmp_path, **keys))
    message = wrong.value.message
    assert message.startswith(f"spec.auth: key {key!r} of Secret 'who'"), message
    assert cause in message
    assert "plant" not in message
    assert "\n" not in message


@pytest.mark.parametrize("url", ["http://p:3128", "socks5h://p:1080"])
def test_a_proxys_user_and_password_are_read_likewise(tmp_path: Path, url: str) -> None:
    """podalize#8."""
    spec = Spec(HTTP, transfer=transfer.Transfer(proxy=transfer.Proxy(url, WHO, (), ())))
    found = secrets(tmp_path, username="\ufeffme\r\n", password="planted\n")
    proxy = source_routes(spec, (), found).for_mirror("source").proxies.for_url(URL)
    assert proxy is not None
    assert (proxy.username, proxy.password) == ("me", "planted")
    (tmp_path / "who/password").write_text("planted\nsecond")
    with pytest.raises(InvalidSpec, match=r"spec\.transfer\.proxy\.auth: key 'password' of Secret 'who' .*a line end"):
        source_routes(spec, (), found)


async def test_a_password_may_have_any_letter(tmp_path: Path) -> None:
    """RFC 7617: Basic carries UTF-8."""
    found = secrets(tmp_path, username="müller", password="paß wort")
    expected = base64.b64encode("müller:paß wort".encode()).decode()
    assert await shown(Spec(HTTP, auth=WHO), found) == (("Authorization", f"Basic {expected}"),)


@pytest.mark.parametrize("data", ["planted".encode("utf-16"), b"plant\xe9d"])
def test_another_encoding_is_named_by_its_key(tmp_path: Path, data: bytes) -> None:
    """podalize#8: PowerShell's `>` writes UTF-16."""
    found = secrets(tmp_path, token="")
    (tmp_path / "who/token").write_bytes(data)
    with pytest.raises(InvalidSpec, match=r"spec\.auth: key 'token' of Secret 'who' is not UTF-8 text; ") as wrong:
        source_routes(Spec(HTTP, auth=WHO), (), found)
    assert "plant" not in wrong.value.message
