"""From a spec and the mounted Secrets to credentials and the hosts that may see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelferry.agent.secrets import Secrets
from modelferry.agent.ways import ways_of
from modelferry.errors import InvalidSpec
from modelferry.resource.secret import SecretReference
from modelferry.resource.source import HTTPFile, HTTPSource
from modelferry.resource.spec import Spec


def spec(*urls: str) -> Spec:
    files = tuple(HTTPFile(f"f{number}", url) for number, url in enumerate(urls))
    return Spec(HTTPSource(files), auth=SecretReference("hub"))


def secrets(tmp_path: Path, **keys: str) -> Secrets:
    (tmp_path / "hub").mkdir()
    for name, value in keys.items():
        (tmp_path / "hub" / name).write_text(value)
    return Secrets(tmp_path)


async def shown(found: Secrets, url: str, *urls: str) -> dict[str, str]:
    return dict(await ways_of(spec(*urls), (), found).of("source").credential.headers(url))


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
        ways_of(spec("https://a/1", "https://b/2"), (), secrets(tmp_path, token="t"))


def test_a_secret_without_a_usable_key_is_told_by_its_keys(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="has the keys tokn; give it token") as caught:
        ways_of(spec("https://a/1"), (), secrets(tmp_path, tokn="planted-secret"))
    assert "planted-secret" not in str(caught.value)
