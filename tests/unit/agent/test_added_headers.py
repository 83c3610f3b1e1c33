"""From ``headers`` of a spec and the mounted Secrets to the fields of requests, by host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelferry.agent.mirror_routes import mirror_routes
from modelferry.agent.secrets import Secrets
from modelferry.agent.source_route import source_routes
from modelferry.errors import InvalidSpec
from modelferry.resource.parse import parse_artifact
from modelferry.resource.spec import Spec, secrets_of

FROM_SECRET = {"name": "X-Api-Key", "secretRef": {"name": "gateway", "key": "apiKey"}}
LITERAL = {"name": "X-Tenant", "value": "speech"}


def spec(*headers: dict[str, Any], urls: tuple[str, ...] = ("https://h.example/a",), **fields: Any) -> Spec:
    files = [{"path": f"f{number}", "url": url} for number, url in enumerate(urls)]
    document = {"apiVersion": "modelferry.dev/v1alpha1", "kind": "ModelArtifact", "metadata": {"name": "m"}}
    wanted = {"source": {"http": {"files": files}}, "headers": list(headers)} | fields
    return parse_artifact(document | {"spec": wanted}).spec


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway/apiKey").write_text("planted-key\n")
    return Secrets(tmp_path)


async def shown(wanted: Spec, secrets: Secrets, url: str) -> dict[str, str]:
    return dict(await source_routes(wanted, (), secrets).for_mirror("source").credential.headers(url))


async def shown_to_mirror(wanted: Spec, secrets: Secrets, url: str) -> dict[str, str]:
    default = source_routes(wanted, (), secrets).for_mirror("source")
    return dict(await mirror_routes(wanted, default, (), secrets, {}, None)["lab"].credential.headers(url))


async def test_values_come_from_the_spec_and_from_a_secret(secrets: Secrets) -> None:
    """kserve#1351: a gateway asks for headers of its own."""
    wanted = spec(FROM_SECRET, LITERAL)
    assert await shown(wanted, secrets, "https://h.example/a") == {"X-Api-Key": "planted-key", "X-Tenant": "speech"}
    assert await shown(wanted, secrets, "https://cdn.example/a") == {}
    assert secrets_of(wanted) == ("gateway",)
    assert "planted" not in repr(wanted)
    assert "speech" not in repr(wanted)


async def test_a_literal_goes_to_all_hosts_that_the_source_names_and_a_secrets_value_to_listed_ones(
    tmp_path: Path, secrets: Secrets
) -> None:
    urls = ("https://h.example/a", "https://i.example/b")
    assert await shown(spec(LITERAL, urls=urls), secrets, "https://i.example/b") == {"X-Tenant": "speech"}
    with pytest.raises(InvalidSpec, match=r"spec\.headers\[0\]: the source's files are on 2 hosts .*allowedHosts"):
        await shown(spec(FROM_SECRET, urls=urls), secrets, "https://i.example/b")
    (tmp_path / "gateway/allowedHosts").write_text("i.example")
    assert await shown(spec(FROM_SECRET, urls=urls), secrets, "https://i.example/b") == {"X-Api-Key": "planted-key"}
    assert await shown(spec(FROM_SECRET, urls=urls), secrets, "https://h.example/a") == {}


async def test_a_mirror_has_its_own_headers_and_never_the_sources(secrets: Secrets) -> None:
    lab = {"name": "lab", "url": "https://lab.example/{path}"}
    wanted = spec(LITERAL, mirrors=[lab | {"headers": [FROM_SECRET]}])
    assert await shown_to_mirror(wanted, secrets, "https://lab.example/a") == {"X-Api-Key": "planted-key"}
    assert await shown_to_mirror(wanted, secrets, "https://h.example/a") == {}
    assert await shown(wanted, secrets, "https://lab.example/a") == {}
    assert secrets_of(wanted) == ("gateway",)


async def test_a_mirror_with_signed_urls_sends_headers_to_the_buckets_host(secrets: Secrets) -> None:
    s3 = {"bucket": "models", "endpoint": "https://gw.example/s3", "secretRef": {"name": "keys"}}
    (secrets.file("keys", "accessKeyID")).parent.mkdir()
    secrets.file("keys", "accessKeyID").write_text("id")
    secrets.file("keys", "secretAccessKey").write_text("planted-secret")
    wanted = spec(mirrors=[{"name": "lab", "presigned": {"s3": s3}, "headers": [LITERAL]}])
    assert await shown_to_mirror(wanted, secrets, "https://gw.example/s3/models/a") == {"X-Tenant": "speech"}


async def test_where_a_secret_has_the_urls_the_hosts_must_be_listed(tmp_path: Path, secrets: Secrets) -> None:
    (tmp_path / "urls").mkdir()
    (tmp_path / "urls/template").write_text("https://b.example/{path}?sig=1")
    presigned = {"name": "lab", "presigned": {"secretRef": {"name": "urls"}}}
    for header, said in ((LITERAL, "hosts are not known; take the value from a Secret"), (FROM_SECRET, "allowedHosts")):
        with pytest.raises(InvalidSpec, match=rf"spec\.mirrors\[lab\]\.headers\[0\]: .*{said}"):
            await shown_to_mirror(spec(mirrors=[presigned | {"headers": [header]}]), secrets, "https://b.example/a")
    (tmp_path / "gateway/allowedHosts").write_text("b.example")
    wanted = spec(mirrors=[presigned | {"headers": [FROM_SECRET]}])
    assert await shown_to_mirror(wanted, secrets, "https://b.example/a") == {"X-Api-Key": "planted-key"}


@pytest.mark.parametrize(
    ("keys", "reason", "said"),
    [
        ({"other": "x"}, "SecretMissing", "Secret 'gateway' has the keys other; give it apiKey"),
        ({"apiKey": ""}, "SecretMissing", "give it apiKey"),
        ({"apiKey": "planted\nsecond"}, "BadCredentials", "key 'apiKey' of Secret 'gateway' has a line end"),
        ({"apiKey": "plänted"}, "BadCredentials", "has a character that is not ASCII"),
    ],
)
def test_a_secret_without_a_usable_value_is_named(tmp_path: Path, keys: dict[str, str], reason: str, said: str) -> None:
    (tmp_path / "gateway").mkdir()
    for name, value in keys.items():
        (tmp_path / "gateway" / name).write_text(value)
    with pytest.raises(InvalidSpec, match=said) as caught:
        source_routes(spec(FROM_SECRET), (), Secrets(tmp_path))
    assert (caught.value.reason, "nted" in caught.value.message) == (reason, False)
    with pytest.raises(InvalidSpec, match=r"spec\.headers\[0\]: there is no Secret 'gateway'"):
        source_routes(spec(FROM_SECRET), (), Secrets(tmp_path / "nowhere"))
