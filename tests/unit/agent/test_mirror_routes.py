"""From spec.mirrors to places, standings and ways."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from modelferry.agent import mirror_routes
from modelferry.agent.secrets import Secrets
from modelferry.errors import InvalidSpec
from modelferry.http.auth.credentials import bearer
from modelferry.http.auth.presigned import SigV4URLs, StoredURLs
from modelferry.http.auth.sigv4 import Keys
from modelferry.http.proxy.proxies import Proxies, Proxy
from modelferry.http.routes import Route
from modelferry.http.tls.contexts import client_context
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.resource.parse import parse_artifact
from modelferry.resource.spec import Spec, bundles_of, secrets_of

MANIFEST = Manifest(
    "rev/1".replace("/", "-"),
    tuple(
        FileEntry(path, 3, Digest("md5", "0" * 32), (Location(f"https://source/{path}"),))
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
    return [location.url for file in found.files for location in file.locations if location.mirror == mirror]


LAB = {"name": "lab", "url": "https://lab/{revision}/{path}"}
DEFAULT = Route(client_context(), bearer("of the source"))


def test_a_path_is_escaped_segment_by_segment_and_the_source_stays_first() -> None:
    found = mirror_routes.add_locations(MANIFEST, spec(LAB), Secrets(None))
    assert urls(found, "lab") == ["https://lab/rev-1/a%20b/%C3%BC%23.bin", "https://lab/rev-1/plain.txt"]
    assert {file.locations[0].mirror for file in found.files} == {"source"}
    assert found.digest == MANIFEST.digest


def test_mirrors_stand_in_the_lists_order_and_the_source_last_unless_it_is_said() -> None:
    other = {"name": "b", "url": "https://b/{path}"}
    assert [(m.name, m.priority) for m in mirror_routes.engine_mirrors(spec(LAB, other))] == [
        ("lab", 0),
        ("b", 1),
        ("source", 2),
    ]
    said = mirror_routes.engine_mirrors(spec(LAB | {"priority": 5, "weight": 3}, {"name": "source", "priority": 5}))
    assert [(m.name, m.priority, m.weight) for m in said] == [("lab", 5, 3), ("source", 5, 1)]
    assert mirror_routes.engine_mirrors(spec()) == ()


async def test_a_mirror_gets_its_own_credential_and_never_the_sources(tmp_path: Path) -> None:
    found = secret(tmp_path, "lab-token", token="t")
    guarded = LAB | {"name": "guarded", "auth": {"secretRef": {"name": "lab-token"}}}
    routes = mirror_routes.mirror_routes(spec(LAB, guarded), DEFAULT, (), found, {}, MANIFEST)
    assert await routes["lab"].credential.headers("https://lab/x") == ()
    assert await routes["guarded"].credential.headers("https://lab/x") == (("Authorization", "Bearer t"),)
    assert await routes["guarded"].credential.headers("https://elsewhere/x") == ()
    assert routes["lab"].context is DEFAULT.context


def test_a_mirror_with_its_own_tls_has_its_own_context() -> None:
    own = mirror_routes.mirror_routes(
        spec(LAB | {"tls": {"minVersion": "1.2"}}), DEFAULT, (), Secrets(None), {}, MANIFEST
    )["lab"]
    assert own.context is not DEFAULT.context
    assert own.context.minimum_version.name == "TLSv1_2"


async def test_urls_of_a_secret_are_kept_out_of_places_and_read_again(tmp_path: Path) -> None:
    given = {"name": "given", "presigned": {"secretRef": {"name": "urls"}}}
    found = secret(tmp_path, "urls", **{"plain.txt": "https://b/plain?sig=1", "template": "https://b/{path}?all=1"})
    manifest = mirror_routes.add_locations(MANIFEST, spec(given), found)
    assert urls(manifest, "given") == ["https://b/a%20b/%C3%BC%23.bin", "https://b/plain"]
    route = mirror_routes.mirror_routes(spec(given), DEFAULT, (), found, {}, MANIFEST)["given"]
    assert isinstance(route.presigner, StoredURLs)
    assert await route.presigner.url("https://b/plain") == "https://b/plain?sig=1"
    secret(tmp_path, "urls", **{"plain.txt": "https://b/plain?sig=2"})
    now = iter([0.0, 0.0, 0.5, 2.0, 2.0])
    clocked = StoredURLs(route.presigner.read, lambda: next(now))
    assert await clocked.url("https://b/plain") == "https://b/plain?sig=2"
    secret(tmp_path, "urls", **{"plain.txt": "https://b/plain?sig=3"})
    assert await clocked.url("https://b/plain") == "https://b/plain?sig=2"
    assert await clocked.url("https://b/plain") == "https://b/plain?sig=3"


async def test_urls_are_minted_for_each_request(tmp_path: Path) -> None:
    found = secret(tmp_path, "keys", accessKeyID="id", secretAccessKey="hush")
    s3 = {"bucket": "models", "prefix": "v1/", "secretRef": {"name": "keys"}, "expires": "5s"}
    one = spec({"name": "s3", "presigned": {"s3": s3 | {"endpoint": "https://minio:9000"}}})
    assert urls(mirror_routes.add_locations(MANIFEST, one, found), "s3")[1] == "https://minio:9000/models/v1/plain.txt"
    amazon = spec({"name": "s3", "presigned": {"s3": s3 | {"region": "eu-west-1"}}})
    location = urls(mirror_routes.add_locations(MANIFEST, amazon, found), "s3")[1]
    assert location == "https://models.s3.eu-west-1.amazonaws.com/v1/plain.txt"
    times = iter([datetime(2026, 1, 1, 0, 0, 0, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)])
    minted = SigV4URLs(Keys("id", "hush"), "eu-west-1", 5, lambda: next(times))
    queries = [parse_qs(urlsplit(await minted.url(location)).query) for _ in range(2)]
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
        mirror_routes.add_locations(MANIFEST, given, secret(tmp_path, "urls", **keys))


def test_keys_that_are_none_are_named_without_their_values(tmp_path: Path) -> None:
    s3 = {"bucket": "models", "secretRef": {"name": "keys"}}
    with pytest.raises(InvalidSpec, match="has the keys user; give it accessKeyID") as raised:
        mirror_routes.mirror_routes(
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
    through = replace(DEFAULT, proxies=Proxies(Proxy.parse("http://all:1"), Proxy.parse("http://all:1")))
    routes = mirror_routes.mirror_routes(found, through, (), keys, {}, MANIFEST)
    assert str(routes["lab"].proxies.for_url("https://lab/x")) == "http://all:1"
    proxy = routes["own"].proxies.for_url("https://lab/x")
    assert proxy is not None
    assert (str(proxy), proxy.username, proxy.password) == ("http://own:3128", "me", "planted-hush")
    assert secrets_of(found) == ("egress",)


def test_a_mirror_with_no_proxy_for_anything_is_reached_directly() -> None:
    direct = LAB | {"proxy": {"url": "http://all:1", "noProxy": ["*"]}}
    through = replace(DEFAULT, proxies=Proxies(Proxy.parse("http://all:1"), Proxy.parse("http://all:1")))
    assert (
        mirror_routes.mirror_routes(spec(direct), through, (), Secrets(None), {}, MANIFEST)["lab"].proxies.for_url(
            "https://lab/x"
        )
        is None
    )


def test_a_mirrors_proxy_with_tls_is_trusted_as_the_mirror_is_and_by_its_own_pins() -> None:
    proxy = {"url": "https://own:3129", "pins": [f"sha256/{'A' * 43}="]}
    route = mirror_routes.mirror_routes(
        spec(LAB | {"tls": {"minVersion": "1.2"}, "proxy": proxy}), DEFAULT, (), Secrets(None), {}, None
    )
    found = route["lab"].proxies.for_url("https://lab/x")
    assert found is not None
    assert found.context is not None
    assert found.context.minimum_version.name == "TLSv1_2"
    assert found.context is not route["lab"].context
    assert found.spec_field == "spec.mirrors[lab].proxy"


def test_a_mirrors_proxy_without_its_secret_names_the_field() -> None:
    entry = LAB | {"proxy": {"url": "http://own:3128", "auth": {"secretRef": {"name": "egress"}}}}
    with pytest.raises(InvalidSpec, match=r"spec\.mirrors\[lab\]\.proxy\.auth"):
        mirror_routes.mirror_routes(spec(entry), DEFAULT, (), Secrets(None), {}, MANIFEST)
