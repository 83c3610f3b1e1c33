"""The source ``s3`` against a real MinIO."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from modelferry.engine.download.coordinator import Result
from modelferry.errors import Denied, ModelferryError, SourceChanged, SourceUnavailable
from modelferry.http.auth.aws import SigV4Credential
from modelferry.http.auth.credentials import HostScoped, parse_hosts
from modelferry.http.auth.presigned import Presigner, SigV4URLs, StoredURLs
from modelferry.http.auth.sigv4 import Keys, presign
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.http.transport.throttle import Throttle
from modelferry.manifest import Digest
from modelferry.resource.object_stores import S3Source
from modelferry.resource.source import HTTPFile, HTTPSource
from modelferry.sources import resolve
from network.harness import DownloadHarness, entry
from network.references import Desk
from network.stores import fetched, resolved
from origin.certs import Authority, Leaf
from origin.nginx import Nginx
from stores.minio_store import PART, REGION, MinioStore
from stores.token_server import jwks, signed

pytestmark = pytest.mark.usefixtures("small_chunks")

READER = {"accessKeyID": "reader", "secretAccessKey": "planted-reader-secret"}
MODEL = {
    "models/tts/config.yaml": b"x: 1\n",
    "models/tts/asset/gpt weights+1.safetensors": Random(1).randbytes(300_000),
    "models/tts/asset/größe=ä&b?.bin": Random(2).randbytes(70_000),
    "models/tts/empty": b"",
    "models/tts-other/no": b"no",
}


@pytest.fixture(scope="module")
def store(leaf: Leaf, authority: Authority) -> Iterator[MinioStore]:
    """One MinIO with a bucket `plain`, and `versioned`, which keeps versions; `reader` may read both."""
    with MinioStore(leaf, authority.ca_file) as server:
        for name in ("plain", "versioned"):
            server.bucket(name, versioned=name == "versioned")
            for key, content in MODEL.items():
                server.put(name, key, content, checksum=True)
        server.user("reader", READER["secretAccessKey"], "*")
        yield server


def source(store: MinioStore, bucket: str = "plain", prefix: str = "models/tts", **fields: Any) -> S3Source:
    return S3Source(bucket, prefix, **({"region": REGION, "endpoint": store.endpoint} | fields))


async def test_the_objects_below_a_prefix_are_fetched_to_their_paths(
    store: MinioStore, harness: DownloadHarness
) -> None:
    wanted = source(store)
    found = await fetched(harness, wanted, await resolved(harness, wanted, READER), READER)
    assert found == {key.removeprefix("models/tts/"): MODEL[key] for key in MODEL if key.startswith("models/tts/")}


async def test_the_stores_sha256_is_the_files_digest(store: MinioStore, harness: DownloadHarness) -> None:
    manifest = await resolved(harness, source(store), READER)
    assert {f.path: f.digest for f in manifest.files} == {
        key.removeprefix("models/tts/"): Digest("sha256", hashlib.sha256(content).hexdigest())
        for key, content in MODEL.items()
        if key.startswith("models/tts/")
    }


async def test_patterns_select_objects(store: MinioStore, harness: DownloadHarness) -> None:
    wanted = source(store, include=("asset/*", "empty"), exclude=("*.bin",))
    manifest = await resolved(harness, wanted, READER)
    assert [file.path for file in manifest.files] == ["asset/gpt weights+1.safetensors", "empty"]


async def test_a_pinned_version_is_fetched_after_the_object_is_replaced(
    store: MinioStore, harness: DownloadHarness
) -> None:
    store.bucket("moving", versioned=True)
    version = store.put("moving", "a", b"first")
    wanted = source(store, "moving", "")
    manifest = await resolved(harness, wanted, READER)
    store.put("moving", "a", b"other")
    assert manifest.files[0].locations[0].url.endswith(f"/moving/a?versionId={version}")
    assert await fetched(harness, wanted, manifest, READER) == {"a": b"first"}
    assert (await resolved(harness, wanted, READER)).revision != manifest.revision


async def test_without_versions_a_replaced_object_is_detected_by_its_etag(
    store: MinioStore, harness: DownloadHarness
) -> None:
    store.bucket("replaced")
    store.put("replaced", "a", b"first")
    wanted = source(store, "replaced", "")
    manifest = await resolved(harness, wanted, READER)
    store.put("replaced", "a", b"other")
    with pytest.raises(SourceChanged, match=r"a: .*/replaced/a changed|another version"):
        await fetched(harness, wanted, manifest, READER)


async def test_an_etag_of_a_multipart_upload_is_not_used_as_a_digest(
    store: MinioStore, harness: DownloadHarness
) -> None:
    store.bucket("parts")
    content = Random(3).randbytes(PART + 1000)
    store.put("parts", "a", content, parts=True)
    wanted = source(store, "parts", "")
    manifest = await resolved(harness, wanted, READER)
    (file,) = manifest.files
    assert (file.digest, file.size) == (None, len(content))
    assert file.validator.endswith('-2"')
    assert await fetched(harness, wanted, manifest, READER) == {"a": content}


async def test_a_public_bucket_needs_no_keys(store: MinioStore, harness: DownloadHarness) -> None:
    store.bucket("public")
    store.put("public", "a", b"for all")
    store.public("public")
    wanted = source(store, "public", "")
    assert await fetched(harness, wanted, await resolved(harness, wanted)) == {"a": b"for all"}


async def test_a_listing_of_more_than_a_thousand_objects_is_read_completely(
    store: MinioStore, harness: DownloadHarness
) -> None:
    store.bucket("many")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.put("many", f"d/{number:04}", b"x"), range(1005)))
    manifest = await resolved(harness, source(store, "many", "d/"), READER)
    assert [file.path for file in manifest.files] == [f"{number:04}" for number in range(1005)]


@pytest.mark.parametrize(
    ("bucket", "secret", "changes", "reason", "said"),
    [
        ("absent", READER, {}, "BucketMissing", "there is no bucket 'absent'; correct bucket"),
        ("plain", READER, {"region": "us-west-9"}, "WrongRegion", f"set spec.source.s3.region: {REGION}"),
        ("plain", READER | {"secretAccessKey": "x"}, {}, "BadCredentials", "SignatureDoesNotMatch.*secretAccessKey"),
        ("plain", READER | {"accessKeyID": "who"}, {}, "BadCredentials", "InvalidAccessKeyId.*correct accessKeyID"),
        ("plain", None, {}, "Denied", "allow s3:ListBucket on bucket 'plain'.*without any, add `auth: {secretRef: "),
        ("plain", {"token": "x"}, {}, "SecretMissing", "has the keys token; give it accessKeyID and secretAccessKey"),
        ("plain", READER, {"prefix": "model"}, "NotFound", "0 objects below 'model/'.*correct prefix"),
        ("plain", READER, {"include": ("*.gguf",)}, "NotFound", "4 objects below"),
    ],
    ids=["no bucket", "region", "secret", "key", "nobody", "other keys", "prefix", "include"],
)
async def test_errors_are_reported_with_the_remedy(
    store: MinioStore,
    harness: DownloadHarness,
    bucket: str,
    secret: dict[str, str] | None,
    changes: dict[str, Any],
    reason: str,
    said: str,
) -> None:
    with pytest.raises(ModelferryError, match=said) as caught:
        await resolved(harness, source(store, bucket, **changes), secret)
    assert caught.value.reason == reason
    assert "planted" not in str(caught.value)


async def test_an_endpoint_with_the_bucket_in_it_is_reported(store: MinioStore, harness: DownloadHarness) -> None:
    """n8n#13667: a path is a part of the endpoint, and the bucket has a field of its own."""
    twice = source(store, endpoint=f"{store.endpoint}/plain")
    with pytest.raises(ModelferryError, match=r"which is added to it: remove 'plain' from endpoint"):
        await resolved(harness, twice, READER)


@pytest.mark.parametrize(
    ("rights", "action"), [({"lists": False}, "s3:ListBucket"), ({"reads": False}, "s3:GetObject")], ids=str
)
async def test_the_missing_permission_is_named(
    store: MinioStore, harness: DownloadHarness, rights: dict[str, bool], action: str
) -> None:
    name = f"no-{action[3:].lower()}"
    store.user(name, "planted-limited", "plain", **rights)
    with pytest.raises(Denied, match=action):
        await resolved(harness, source(store), {"accessKeyID": name, "secretAccessKey": "planted-limited"})


async def test_clock_skew_is_reported_with_the_servers_time(store: MinioStore, harness: DownloadHarness) -> None:
    keys = Keys(READER["accessKeyID"], READER["secretAccessKey"])
    late = SigV4Credential(keys, REGION, lambda: datetime.now(UTC) + timedelta(hours=1))
    context = client_context(harness.ca_file)
    with pytest.raises(Denied, match=r"clock and the server's differ too much; set this machine's clock") as caught:
        await resolve(source(store), Routes(Route(context, HostScoped(late, parse_hosts(store.authority)))))
    assert caught.value.reason == "ClockSkew"


async def test_a_presigned_url_works_without_credentials_until_it_expires(
    store: MinioStore, harness: DownloadHarness
) -> None:
    url = f"{store.endpoint}/plain/models/tts/config.yaml"
    keys = Keys(READER["accessKeyID"], READER["secretAccessKey"])
    plain = Routes(Route(client_context(harness.ca_file)))

    async def size(began: datetime) -> int:
        fresh = presign(url, keys, region=REGION, now=began, expires=60)
        return (await resolve(HTTPSource((HTTPFile("a", fresh),)), plain)).size

    now = datetime.now(UTC)
    assert await size(now) == len(MODEL["models/tts/config.yaml"])
    with pytest.raises(Denied):
        await size(now - timedelta(seconds=61))


#: Seconds that a presigned URL lives, and that the download takes at least, held back by its own limit.
LIFE, LONG = 2, 7


@dataclass(frozen=True)
class Weights:
    """A file in a bucket of its own, which only `reader` may read."""

    location: str
    content: bytes
    by_client: Callable[[int], str]

    async def pulled(self, harness: DownloadHarness, presigner: Presigner) -> Result:
        """Fetch it by presigned URLs, from one mirror alone, slowly enough for several lives of them."""
        harness.presigners, harness.throttle = {"m0": presigner}, Throttle(harness.connections)
        harness.throttle.set(len(self.content) // LONG)
        result = await harness.pull(entry("a", self.content, self.location))
        assert harness.read("a") == self.content
        return result


@pytest.fixture
def weights(store: MinioStore) -> Weights:
    """3 MB: at a limit, many requests."""
    content = Random(5).randbytes(3_000_000)
    if not store.client.bucket_exists("weights"):
        store.bucket("weights")
    store.put("weights", "a", content)

    def by_client(seconds: int) -> str:
        return str(store.client.presigned_get_object("weights", "a", expires=timedelta(seconds=seconds)))

    return Weights(f"{store.endpoint}/weights/a", content, by_client)


async def test_urls_signed_with_keys_are_renewed_many_times(weights: Weights, harness: DownloadHarness) -> None:
    minted: list[str] = []

    class Noted(SigV4URLs):
        async def url(self, location: str) -> str:
            minted.append(await super().url(location))
            return minted[-1]

    keys = Keys(READER["accessKeyID"], READER["secretAccessKey"])
    began = time.monotonic()
    result = await weights.pulled(harness, Noted(keys, REGION, LIFE, lambda: datetime.now(UTC)))
    assert time.monotonic() - began > 2 * LIFE
    assert result.retries == 0
    assert {parse_qs(urlsplit(url).query)["X-Amz-Expires"][0] for url in minted} == {str(LIFE)}
    assert len({parse_qs(urlsplit(url).query)["X-Amz-Date"][0] for url in minted}) > LONG / LIFE


async def test_urls_that_are_renewed_in_a_secret_are_used(weights: Weights, harness: DownloadHarness) -> None:
    """Signed by MinIO's own client; who renews them does so for each look, which is once a second at most."""
    renewed: list[str] = []

    def read() -> dict[str, str]:
        renewed.append(weights.by_client(LIFE + 1))
        return {weights.location: renewed[-1]}

    result = await weights.pulled(harness, StoredURLs(read, time.monotonic))
    assert result.retries == 0
    assert len(set(renewed)) > LONG / (LIFE + 1)


async def test_an_expired_url_is_refused_by_the_store_and_waited_for(
    weights: Weights, harness: DownloadHarness
) -> None:
    keys = Keys(READER["accessKeyID"], READER["secretAccessKey"])
    late = SigV4URLs(keys, REGION, LIFE, lambda: datetime.now(UTC) - timedelta(seconds=LIFE + 1))
    harness.progress_deadline = 1.0
    with pytest.raises(
        SourceUnavailable, match=r"no progress for 1 s; .*/weights/a .*403.* to a presigned URL"
    ) as caught:
        await weights.pulled(harness, late)
    assert "X-Amz" not in caught.value.message


async def test_a_pods_web_identity_is_exchanged_for_keys(
    leaf: Leaf, authority: Authority, harness: DownloadHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As IRSA does it, with MinIO as the token service and a provider of identities that it trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    web = tmp_path / "web"
    web.mkdir()
    with Nginx(web, leaf=leaf) as provider:
        issuer = provider.url("").rstrip("/")
        document = {"issuer": issuer, "jwks_uri": provider.url("jwks"), "token_endpoint": issuer,
                    "authorization_endpoint": issuer, "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256"]}  # fmt: skip
        (web / "configuration").write_text(json.dumps(document))
        (web / "jwks").write_text(json.dumps(jwks(key)))
        told = {
            "MINIO_IDENTITY_OPENID_CONFIG_URL": provider.url("configuration"),
            "MINIO_IDENTITY_OPENID_CLIENT_ID": "modelferry",
            "MINIO_IDENTITY_OPENID_CLAIM_NAME": "policy",
        }
        with MinioStore(leaf, authority.ca_file, environment=told) as store:
            store.bucket("models")
            store.put("models", "a", b"by role")
            store.policy("may-read", "models")
            claims = {"iss": issuer, "aud": "modelferry", "sub": "pod", "policy": "may-read"}
            token = tmp_path / "token"
            token.write_text(signed(key, claims | {"iat": int(time.time()), "exp": int(time.time()) + 600}))
            monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/models")
            monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", store.endpoint)
            wanted = source(store, "models", "")
            assert await fetched(harness, wanted, await resolved(harness, wanted)) == {"a": b"by role"}
            token.write_text("no token")
            with pytest.raises(Denied, match="gives arn:aws:iam::123456789012:role/models no keys"):
                await resolved(harness, wanted)


async def test_a_reference_is_pulled_with_the_keys_of_the_environment(
    store: MinioStore, tmp_path: Path, authority: Authority
) -> None:
    keys: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": READER["secretAccessKey"]}
    desk, words = Desk(tmp_path, authority), ("pull", "s3://plain/models/tts", "--endpoint", store.endpoint)
    wrong = await desk.run(*words, "--region", "eu-west-1", AWS_REGION=REGION, **keys)
    assert wrong.code == 2
    assert f"set spec.source.s3.region: {REGION}. On this command line, that is --region" in wrong.err
    done = await desk.run(*words, AWS_REGION=REGION, **keys)
    assert done.code == 0, done.err
    files = {key.removeprefix("models/tts/"): body for key, body in MODEL.items() if key.startswith("models/tts/")}
    assert desk.files("tts") == files
    one = await desk.run("pull", "s3://plain/models/tts/config.yaml", *words[2:], AWS_REGION=REGION, **keys)
    assert one.code == 3
    assert "not a directory, give s3://plain/models/tts and --include 'config.yaml'" in one.err
    refused = await desk.run(*words, "--to", "refused")
    assert (refused.code, "Denied" in refused.err) == (3, True)
    assert "the keys are those of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refused.err
