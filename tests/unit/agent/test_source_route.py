"""From a spec and the mounted Secrets to credentials and the hosts that may see them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from modelferry.agent.secrets import Secrets
from modelferry.agent.source_route import source_routes
from modelferry.errors import InvalidSpec
from modelferry.resource import transfer
from modelferry.resource.secret import SecretReference
from modelferry.resource.source import HTTPFile, HTTPSource, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec import Spec, secrets_of


def spec(*urls: str) -> Spec:
    files = tuple(HTTPFile(f"f{number}", url) for number, url in enumerate(urls))
    return Spec(HTTPSource(files), auth=SecretReference("hub"))


def secrets(tmp_path: Path, **keys: str) -> Secrets:
    (tmp_path / "hub").mkdir()
    for name, value in keys.items():
        (tmp_path / "hub" / name).write_text(value)
    return Secrets(tmp_path)


async def shown(found: Secrets, url: str, *urls: str) -> dict[str, str]:
    return dict(await source_routes(spec(*urls), (), found).for_mirror("source").credential.headers(url))


async def test_a_token_goes_to_the_sources_host_and_port_alone(tmp_path: Path) -> None:
    found = secrets(tmp_path, token="t\n")
    one = "https://models.example.com:8443/a"
    assert await shown(found, one, one) == {"Authorization": "Bearer t"}
    assert await shown(found, "https://models.example.com/a", one) == {}
    assert await shown(found, "https://cdn.example.com:8443/a", one) == {}


async def test_user_and_password_are_shown_as_basic(tmp_path: Path) -> None:
    found = secrets(tmp_path, username="u", password="p")
    assert await shown(found, "https://h/a", "https://h/a") == {"Authorization": "Basic dTpw"}


async def test_the_secrets_own_list_of_hosts_decides_where_it_has_one(tmp_path: Path) -> None:
    found = secrets(tmp_path, token="t", allowedHosts="a.example.com, b.example.com")
    for host, fields in (("a.example.com", 1), ("b.example.com", 1), ("evil.example.com", 0)):
        assert len(await shown(found, f"https://{host}/x", "https://evil.example.com/x")) == fields


def test_files_on_several_hosts_need_that_list(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"on 2 hosts .*allowedHosts"):
        source_routes(spec("https://a/1", "https://b/2"), (), secrets(tmp_path, token="t"))


def test_a_secret_without_a_usable_key_is_told_by_its_keys(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="has the keys tokn; give it token") as caught:
        source_routes(spec("https://a/1"), (), secrets(tmp_path, tokn="planted-secret"))
    assert "planted-secret" not in str(caught.value)


async def test_a_hubs_token_goes_to_its_endpoint_alone(tmp_path: Path) -> None:
    found = secrets(tmp_path, token="t")
    hub = Spec(HuggingFaceSource("a/b", endpoint="https://hf-mirror.com/hf"), auth=SecretReference("hub"))
    credential = source_routes(hub, (), found).for_mirror("source").credential
    assert await credential.headers("https://hf-mirror.com/a/b/resolve/0/c") == (("Authorization", "Bearer t"),)
    assert await credential.headers("https://huggingface.co/a/b/resolve/0/c") == ()


async def test_model_scope_gets_its_token_as_a_cookie_too(tmp_path: Path) -> None:
    spec = Spec(ModelScopeSource("a/b"), auth=SecretReference("hub"))
    credential = source_routes(spec, (), secrets(tmp_path, token="t")).for_mirror("source").credential
    assert await credential.headers("https://modelscope.cn/x") == (
        ("Authorization", "Bearer t"),
        ("Cookie", "m_session_id=t"),
    )


URL = "https://h/1"
ENVIRONMENT = {"https_proxy": "http://other:1", "no_proxy": "h"}


def proxied(
    url: str = "http://p:3128", auth: str = "hub", no_proxy: tuple[str, ...] = (), pins: tuple[str, ...] = ()
) -> Spec:
    proxy = transfer.Proxy(url, SecretReference(auth) if auth else None, no_proxy, pins)
    return Spec(HTTPSource((HTTPFile("f", URL),)), transfer=transfer.Transfer(proxy=proxy))


def test_the_specs_proxy_comes_with_its_secrets_credentials(tmp_path: Path) -> None:
    found = secrets(tmp_path, username="me", password="planted-secret\n")
    proxy = source_routes(proxied(), (), found, environment=ENVIRONMENT).for_mirror("source").proxies.for_url(URL)
    assert proxy is not None
    assert (str(proxy), proxy.username, proxy.password) == ("http://p:3128", "me", "planted-secret")
    assert "planted-secret" not in repr(proxy)
    assert secrets_of(proxied()) == ("hub",)


def test_the_specs_list_of_exempt_hosts_replaces_the_environments() -> None:
    spec = proxied(auth="", no_proxy=("x.example",))
    proxies = source_routes(spec, (), Secrets(None), environment=ENVIRONMENT).for_mirror("source").proxies
    assert proxies.for_url(URL) is not None
    assert proxies.for_url("https://x.example/1") is None


def test_a_proxy_by_tls_is_verified_as_servers_are_with_pins_of_its_own() -> None:
    own = proxied(url="https://p:8443", auth="", pins=("sha256/" + "A" * 43 + "=",))
    proxy = source_routes(own, (), Secrets(None)).for_mirror("source").proxies.for_url(URL)
    assert proxy is not None
    assert proxy.context is not None
    assert proxy.context.verify_mode is ssl.CERT_REQUIRED
    assert proxy.context.sslobject_class is not ssl.SSLObject


def test_without_one_in_the_spec_the_environment_decides_with_the_operators_secret(tmp_path: Path) -> None:
    found = secrets(tmp_path, username="me", password="p")
    bare = Spec(HTTPSource((HTTPFile("f", URL),)))
    environment = {"https_proxy": "socks5h://p:1"}
    proxy = (
        source_routes(bare, (), found, environment=environment, proxy_secret="hub")
        .for_mirror("source")
        .proxies.for_url(URL)
    )
    assert proxy is not None
    assert (str(proxy), proxy.username) == ("socks5h://p:1", "me")
    assert source_routes(bare, (), found, environment=ENVIRONMENT).for_mirror("source").proxies.for_url(URL) is None
    with pytest.raises(InvalidSpec, match=r"proxy\.secretName: there is no Secret 'lost'"):
        source_routes(bare, (), found, environment=environment, proxy_secret="lost")


def test_a_proxys_secret_without_a_password_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"proxy\.auth: Secret 'hub' has the keys token; give it user") as caught:
        source_routes(proxied(), (), secrets(tmp_path, token="planted-secret"))
    assert caught.value.reason == "SecretMissing"
    assert "planted-secret" not in caught.value.message
