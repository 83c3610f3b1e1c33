"""A registry's challenge, the token that it leads to, and who a Docker config says to be."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from modelferry.errors import ConnectionFailed, Denied
from modelferry.http.auth.credentials import HeaderFields, Rejection, basic
from modelferry.http.auth.registry_token import RegistryToken, docker_login, parse_challenges
from modelferry.http.wire import HeadParser

URL = "https://registry.example.com/v2/m/blobs/sha256:0"
CHALLENGE = 'Bearer realm="https://auth.example.com/token?a=b",service="reg",scope="repository:m:pull,push"'
LOGIN = basic("u", "p")


class Tokens:
    """A token server; ``asked`` are the URLs and fields that it saw."""

    def __init__(self, status: int = 200, body: object = None) -> None:
        self.status, self.body = status, body
        self.asked: list[tuple[str, HeaderFields]] = []

    async def __call__(self, url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
        assert form == b""
        await asyncio.sleep(0)
        self.asked.append((url, fields))
        body = {"token": f"t{len(self.asked)}"} if self.body is None else self.body
        return self.status, json.dumps(body).encode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            CHALLENGE,
            {"bearer": {"realm": "https://auth.example.com/token?a=b", "service": "reg",
                        "scope": "repository:m:pull,push"}},
        ),
        ('Basic realm="Amazon ECR"', {"basic": {"realm": "Amazon ECR"}}),
        ('bearer Realm=https://a/t , Service="s"', {"bearer": {"realm": "https://a/t", "service": "s"}}),
        ('Bearer realm="x", Basic realm="y"', {"bearer": {"realm": "x"}, "basic": {"realm": "y"}}),
        ('Bearer realm = "https://a/t" , service\t=\t"s"', {"bearer": {"realm": "https://a/t", "service": "s"}}),
        ('Basic realm = "a, b" , Bearer realm = "x"', {"basic": {"realm": "a, b"}, "bearer": {"realm": "x"}}),
        ('Bearer realm="a\\"b"', {"bearer": {"realm": 'a"b'}}),
        ('Negotiate, NTLM TlRMTQ==, Bearer realm="x"', {"bearer": {"realm": "x"}}),
        ('Basic realm="y", NTLM, Bearer realm="x"', {"basic": {"realm": "y"}, "bearer": {"realm": "x"}}),
        ("Bearer realm" + " " * 60_000 + "=" + " " * 60_000, {}),
        ("Negotiate", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_challenges_are_read(header: str, expected: dict[str, dict[str, str]]) -> None:
    """modelferry issue 14, 24: RFC 9110 section 11.2 allows white space around the equals sign."""
    assert parse_challenges(header) == expected


def test_challenges_on_lines_of_their_own_are_all_read() -> None:
    """modelferry issue 14, 14: Negotiate, NTLM and Basic before the one that can be used."""
    lines = ["Negotiate", "NTLM", 'Basic realm="y"', 'Bearer realm="x"']
    raw = "".join(f"WWW-Authenticate: {line}\r\n" for line in lines)
    head, _ = HeadParser().feed(f"HTTP/1.1 401 X\r\n{raw}\r\n".encode())
    assert head is not None
    challenges = parse_challenges(head.get("www-authenticate") or "")
    assert challenges == {"basic": {"realm": "y"}, "bearer": {"realm": "x"}}


async def test_a_token_is_asked_for_as_the_challenge_says() -> None:
    tokens, credential = Tokens(), RegistryToken(LOGIN)
    assert await credential.headers(URL) == ()
    assert await credential.renew(Rejection(URL, CHALLENGE), tokens)
    assert await credential.headers(URL) == (("Authorization", "Bearer t1"),)
    ((url, fields),) = tokens.asked
    assert url.startswith("https://auth.example.com/token?a=b&")
    assert parse_qs(urlsplit(url).query) == {"a": ["b"], "service": ["reg"], "scope": ["repository:m:pull,push"]}
    assert ("Authorization", LOGIN.authorization) in fields


async def test_nobody_asks_for_a_token_without_a_login() -> None:
    tokens = Tokens(body={"access_token": "anonymous"})
    credential = RegistryToken(None)
    assert await credential.renew(Rejection(URL, CHALLENGE), tokens)
    assert dict(await credential.headers(URL)) == {"Authorization": "Bearer anonymous"}
    assert "Authorization" not in dict(tokens.asked[0][1])


async def test_sixteen_streams_whose_token_ran_out_bring_one() -> None:
    tokens, credential = Tokens(), RegistryToken(LOGIN)
    await credential.renew(Rejection(URL, CHALLENGE), tokens)
    refusal = Rejection(URL, CHALLENGE, await credential.headers(URL))
    assert all(await asyncio.gather(*(credential.renew(refusal, tokens) for _ in range(16))))
    assert len(tokens.asked) == 2


async def test_a_registry_without_tokens_is_shown_the_password_once() -> None:
    tokens, credential = Tokens(), RegistryToken(LOGIN)
    assert await credential.renew(Rejection(URL, 'Basic realm="r"'), tokens)
    shown = await credential.headers(URL)
    assert shown == (("Authorization", LOGIN.authorization),)
    assert not await credential.renew(Rejection(URL, 'Basic realm="r"', shown), tokens)
    assert not await RegistryToken(None).renew(Rejection(URL, 'Basic realm="r"'), tokens)
    assert tokens.asked == []


@pytest.mark.parametrize(
    "realm", ["http://auth.example.com/token", "ftp://a/", "/token", "", "https://u:p@auth.example.com/"]
)
async def test_a_token_server_without_tls_gets_nothing(realm: str) -> None:
    tokens = Tokens()
    with pytest.raises(Denied, match="token server that may not be used"):
        await RegistryToken(LOGIN).renew(Rejection(URL, f'Bearer realm="{realm}",service="s"'), tokens)
    assert tokens.asked == []


async def test_a_token_server_outside_the_list_gets_no_password() -> None:
    tokens = Tokens()
    with pytest.raises(Denied, match="which the Secret's key allowedHosts does not list"):
        await RegistryToken(LOGIN, hosts=frozenset({"registry.example.com"})).renew(Rejection(URL, CHALLENGE), tokens)
    assert tokens.asked == []
    assert await RegistryToken(LOGIN, hosts=frozenset({"auth.example.com"})).renew(Rejection(URL, CHALLENGE), tokens)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (401, {}, Denied, "answered 401; correct user and password"),
        (503, {}, ConnectionFailed, "answered 503"),
        (200, {}, Denied, "without a token"),
        (200, [], Denied, "without a token"),
        (200, {"token": "a\r\nX-Evil: 1"}, Denied, "without a token"),
    ],
)
async def test_a_token_server_that_brings_none_is_told(
    status: int, body: object, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        await RegistryToken(LOGIN).renew(Rejection(URL, CHALLENGE), Tokens(status, body))


AUTH = {"auth": base64.b64encode(b"u:p").decode()}


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("registry.example.com", "registry.example.com"),
        ("https://registry.example.com/v1/", "registry.example.com"),
        ("registry.example.com:5000", "registry.example.com:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
    ],
)
@pytest.mark.parametrize("entry", [AUTH, {"username": "u", "password": "p"}])
def test_a_docker_config_names_its_registries_in_several_ways(key: str, host: str, entry: dict[str, str]) -> None:
    config = json.dumps({"auths": {"other.example.com": {}, key: entry}})
    assert docker_login(config, host) == LOGIN
    assert docker_login(config, "elsewhere.example.com") is None


@pytest.mark.parametrize("config", ["{", "[]", "{}", json.dumps({"auths": {"h": {"auth": "%%%"}}})])
def test_what_is_no_docker_config_is_refused(config: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        docker_login(config, "h")
