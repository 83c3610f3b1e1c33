"""From spec.mirrors to places, standings and ways."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from modelferry.agent import mirrors
from modelferry.agent.secrets import Secrets
from modelferry.errors import InvalidSpec
from modelferry.manifest import Digest, FileEntry, Manifest, Place
from modelferry.net.credentials import bearer
from modelferry.net.presigned import Given, Minted
from modelferry.net.proxy import Proxies, Proxy
from modelferry.net.sigv4 import Keys
from modelferry.net.tls import client_context
from modelferry.net.ways import Way
from modelferry.resource.parse import parse_artifact
from modelferry.resource.spec import Spec, bundles_of, secrets_of

MANIFEST = Manifest(
    "rev/1".replace("/", "-"),
    tuple(
        FileEntry(path, 3, Digest("md5", "0" * 32), (Place(f"https://source/{path}"),))
        for path in ("a b/ü#.bin", "plain.txt")
    ),
)


def spec(*entries: dict[str, Any], **more: Any) -> Spec:
    source = {"http": {"files": [{"path": "plain.txt", "url": "https://source/plain.txt"}]}}
    body = {"apiVersion": "modelferry.dev/v1alpha1", "kind": "ModelArtifact", "metadata": {"name": "m"}}
    return parse_artifact(body | {"spec": {"source": source, "mirrors": list(entries)} | more}).spec


def secret(tmp_path: Path, name: str, **keys: str) -> Secrets:
    (tmp_path / name).mkdir(exist_ok=True)
    for key, value in keys.items():
        (tmp_path / name / key).write_text(value)
    return Secrets(tmp_path)


def urls(found: Manifest, mirror: str) -> list[str]:
    return [place.url for file in found.files for place in file.places if place.mirror == mirror]


LAB = {"name": "lab", "url": "https://lab/{revision}/{path}"}
DEFAULT = Way(client_context(), bearer("of the source"))


def test_a_path_is_escaped_segment_by_segment_and_the_source_stays_first() -> None:
    found = mirrors.with_places(MANIFEST, spec(LAB), Secrets(None))
    assert urls(found, "lab") == ["https://lab/rev-1/a%20b/%C3%BC%23.bin", "https://lab/rev-1/plain.txt"]
    assert {file.places[0].mirror for file in found.files} == {"source"}
    assert found.digest == MANIFEST.digest


def test_mirrors_stand_in_the_lists_order_and_the_source_last_unless_it_is_said() -> None:
    other = {"name": "b", "url": "https://b/{path}"}
    assert [(m.name, m.priority) for m in mirrors.standings(spec(LAB, other))] == [("lab", 0), ("b", 1), ("source", 2)]
    said = mirrors.standings(spec(LAB | {"priority": 5, "weight": 3}, {"name": "source", "priority": 5}))
    assert [(m.name, m.priority, m.weight) for m in said] == [("lab", 5, 3), ("source", 5, 1)]
    assert mirrors.standings(spec()) == ()


async def test_a_mirror_gets_its_own_credential_and_never_the_sources(tmp_path: Path) -> None:
    found = secret(tmp_path, "lab-token", token="t")
    guarded = LAB | {"name": "guarded", "auth": {"secretRef": {"name": "lab-token"}}}
    ways = mirrors.ways(spec(LAB, guarded), DEFAULT, (), found, {}, MANIFEST)
    assert await ways["lab"].credential.headers("https://lab/x") == ()
    assert await ways["guarded"].credential.headers("https://lab/x") == (("Authorization", "Bearer t"),)
    assert await ways["guarded"].credential.headers("https://elsewhere/x") == ()
    assert ways["lab"].context is DEFAULT.context


def test_a_mirror_with_its_own_tls_has_its_own_context() -> None:
    own = mirrors.ways(spec(LAB | {"tls": {"minVersion": "1.2"}}), DEFAULT, (), Secrets(None), {}, MANIFEST)["lab"]
    assert own.context is not DEFAULT.context
    assert own.context.minimum_version.name == "TLSv1_2"


async def test_urls_of_a_secret_are_kept_out_of_places_and_read_again(tmp_path: Path) -> None:
    given = {"name": "given", "presigned": {"secretRef": {"name": "urls"}}}
    found = secret(tmp_path, "urls", **{"plain.txt": "https://b/plain?sig=1", "template": "https://b/{path}?all=1"})
    manifest = mirrors.with_places(MANIFEST, spec(given), found)
    assert urls(manifest, "given") == ["https://b/a%20b/%C3%BC%23.bin", "https://b/plain"]
    way = mirrors.ways(spec(given), DEFAULT, (), found, {}, MANIFEST)["given"]
    assert isinstance(way.presigner, Given)
    assert await way.presigner.url("https://b/plain") == "https://b/plain?sig=1"
    secret(tmp_path, "urls", **{"plain.txt": "https://b/plain?sig=2"})
    now = iter([0.0, 0.0, 0.5, 2.0, 2.0])
    clocked = Given(way.presigner.read, lambda: next(now))
    assert await clocked.url("https://b/plain") == "https://b/plain?sig=2"
    secret(tmp_path, "urls", **{"plain.txt": "https://b/plain?sig=3"})
    assert await clocked.url("https://b/plain") == "https://b/plain?sig=2"
    assert await clocked.url("https://b/plain") == "https://b/plain?sig=3"


async def test_urls_are_minted_for_each_request(tmp_path: Path) -> None:
    found = secret(tmp_path, "keys", accessKeyID="id", secretAccessKey="hush")
    s3 = {"bucket": "models", "prefix": "v1/", "secretRef": {"name": "keys"}, "expires": "5s"}
    one = spec({"name": "s3", "presigned": {"s3": s3 | {"endpoint": "https://minio:9000"}}})
    assert urls(mirrors.with_places(MANIFEST, one, found), "s3")[1] == "https://minio:9000/models/v1/plain.txt"
    amazon = spec({"name": "s3", "presigned": {"s3": s3 | {"region": "eu-west-1"}}})
    place = urls(mirrors.with_places(MANIFEST, amazon, found), "s3")[1]
    assert place == "https://models.s3.eu-west-1.amazonaws.com/v1/plain.txt"
    times = iter([datetime(2026, 1, 1, 0, 0, 0, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)])
    minted = Minted(Keys("id", "hush"), "eu-west-1", 5, lambda: next(times))
    queries = [parse_qs(urlsplit(await minted.url(place)).query) for _ in range(2)]
    assert [query["X-Amz-Date"] for query in queries] == [["20260101T000000Z"], ["20260101T000004Z"]]
    assert queries[0]["X-Amz-Expires"] == ["5"]
    assert "hush" not in repr(minted)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"other": "https://b/x"}, "has no URL for any file"),
        ({"template": "ftp://b/{path}"}, "key 'template' of Secret 'urls': the URL does not begin with https"),
    ],
)
def test_a_secret_without_urls_is_named(tmp_path: Path, keys: dict[str, str], words: str) -> None:
    given = spec({"name": "given", "presigned": {"secretRef": {"name": "urls"}}})
    with pytest.raises(InvalidSpec, match=words):
        mirrors.with_places(MANIFEST, given, secret(tmp_path, "urls", **keys))


def test_keys_that_are_none_are_named_without_their_values(tmp_path: Path) -> None:
    s3 = {"bucket": "models", "secretRef": {"name": "keys"}}
    with pytest.raises(InvalidSpec, match="has the keys user; give it accessKeyID") as raised:
        mirrors.ways(
            spec({"name": "s3", "presigned": {"s3": s3}}),
            DEFAULT,
            (),
            secret(tmp_path, "keys", user="x9"),
            {},
            MANIFEST,
        )
    assert "x9" not in raised.value.message


def test_a_pod_gets_the_secrets_and_bundles_of_all_mirrors() -> None:
    own = LAB | {"tls": {"ca": {"configMap": {"name": "lab-ca"}}}, "auth": {"secretRef": {"name": "lab-token"}}}
    given = {"name": "given", "presigned": {"secretRef": {"name": "urls"}}}
    found = spec(own, given, auth={"secretRef": {"name": "hub"}})
    assert secrets_of(found) == ("hub", "lab-token", "urls")
    assert {name: bundle.name for name, bundle in bundles_of(found).items()} == {"lab": "lab-ca"}


def test_a_mirror_with_its_own_proxy_goes_through_that_and_the_others_through_the_sources(tmp_path: Path) -> None:
    keys = secret(tmp_path, "egress", username="me", password="planted-hush")
    own = LAB | {"name": "own", "proxy": {"url": "http://own:3128", "auth": {"secretRef": {"name": "egress"}}}}
    found = spec(LAB, own)
    through = replace(DEFAULT, proxies=Proxies(Proxy.of("http://all:1"), Proxy.of("http://all:1")))
    ways = mirrors.ways(found, through, (), keys, {}, MANIFEST)
    assert str(ways["lab"].proxies.of("https://lab/x")) == "http://all:1"
    proxy = ways["own"].proxies.of("https://lab/x")
    assert proxy is not None
    assert (str(proxy), proxy.username, proxy.password) == ("http://own:3128", "me", "planted-hush")
    assert secrets_of(found) == ("egress",)


def test_a_mirror_with_no_proxy_for_anything_is_reached_directly() -> None:
    direct = LAB | {"proxy": {"url": "http://all:1", "noProxy": ["*"]}}
    through = replace(DEFAULT, proxies=Proxies(Proxy.of("http://all:1"), Proxy.of("http://all:1")))
    assert (
        mirrors.ways(spec(direct), through, (), Secrets(None), {}, MANIFEST)["lab"].proxies.of("https://lab/x") is None
    )


def test_a_mirrors_proxy_with_tls_is_trusted_as_the_mirror_is_and_by_its_own_pins() -> None:
    proxy = {"url": "https://own:3129", "pins": [f"sha256/{'A' * 43}="]}
    way = mirrors.ways(spec(LAB | {"tls": {"minVersion": "1.2"}, "proxy": proxy}), DEFAULT, (), Secrets(None), {}, None)
    found = way["lab"].proxies.of("https://lab/x")
    assert found is not None
    assert found.context is not None
    assert found.context.minimum_version.name == "TLSv1_2"
    assert found.context is not way["lab"].context
    assert found.asked_by == "spec.mirrors[lab].proxy"


def test_a_mirrors_proxy_without_its_secret_names_the_field() -> None:
    entry = LAB | {"proxy": {"url": "http://own:3128", "auth": {"secretRef": {"name": "egress"}}}}
    with pytest.raises(InvalidSpec, match=r"spec\.mirrors\[lab\]\.proxy\.auth"):
        mirrors.ways(spec(entry), DEFAULT, (), Secrets(None), {}, MANIFEST)
