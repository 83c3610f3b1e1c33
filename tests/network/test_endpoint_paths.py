"""Stores and hubs whose endpoint has a path, as behind a gateway that serves several of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from urllib.parse import quote, urlsplit

import pytest
from minio.credentials.credentials import Credentials
from minio.signer import presign_v4, sign_v4_s3

from modelferry.http.auth.sigv4 import Keys, presign
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.resource.object_stores import S3Source
from modelferry.resource.source import HuggingFaceSource, ModelScopeSource
from modelferry.sources import resolve
from network.harness import CHUNK, DownloadHarness
from network.stores import fetched, resolved
from origin.certs import Leaf
from origin.hub import CDN, Hub, Repo
from origin.modelscope import Model, ModelScope
from origin.web import Reply, WebRequest, WebServer

pytestmark = pytest.mark.usefixtures("small_chunks")

KEYS = {"accessKeyID": "reader", "secretAccessKey": "planted-reader-secret"}
PREFIX = "/team%20a/store"
FILES = {"config/path with space+.yaml": b"x: 1\n", "gpt.safetensors": Random(5).randbytes(3 * CHUNK + 77)}


class Gateway(WebServer):
    """Serves `inner` below `PREFIX`, and nothing else."""

    def __init__(self, inner: WebServer, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._inner = inner

    def answer(self, request: WebRequest) -> Reply:
        """See WebServer."""
        if not request.path.startswith(f"{PREFIX}/"):
            return Reply(404, content=b"outside of the prefix")
        reply = self._inner.answer(replace(request, path=request.path.removeprefix(PREFIX)))
        location = reply.fields.get("Location", "")
        if location.startswith("/"):
            return replace(reply, fields={**reply.fields, "Location": PREFIX + location})
        return reply


class Bucket(WebServer):
    """The bucket ``models`` below `PREFIX`, with `FILES` below ``tts/``; it verifies each signature, over the path that
    was sent, with the signer of MinIO's own client."""

    def answer(self, request: WebRequest) -> Reply:
        """See WebServer."""
        if request.fields.get("authorization") != self._signed(request):
            return Reply(403, content=b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if request.path == f"{PREFIX}/models/":
            items = "".join(
                f"<Contents><Key>tts/{quote(path)}</Key><Size>{len(body)}</Size></Contents>"
                for path, body in FILES.items()
            )
            page = f"<ListBucketResult><EncodingType>url</EncodingType>{items}</ListBucketResult>"
            return Reply(content=page.encode())
        found = request.match(rf"{PREFIX}/models/tts/(.+)")
        if found is None or found[0] not in FILES:
            return Reply(404, content=b"<Error><Code>NoSuchKey</Code></Error>")
        body = FILES[found[0]]
        return Reply(fields={"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'}, content=body)

    def _signed(self, request: WebRequest) -> str:
        shown = request.fields.get("authorization", "")
        names = (re.search(r"SignedHeaders=([^,]*)", shown) or ("", ""))[1].split(";")
        headers = {name: request.fields.get(name, "") for name in names}
        query = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(request.query.items()))
        signed: Mapping[str, object] = sign_v4_s3(
            method=request.method,
            url=urlsplit(f"{self.base}{request.path}{'?' + query if query else ''}"),
            region="us-east-1",
            headers=dict(headers),
            credentials=Credentials(KEYS["accessKeyID"], KEYS["secretAccessKey"]),
            content_sha256=headers.get("x-amz-content-sha256", ""),
            date=datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
        )
        return str(signed["Authorization"]).replace(", ", ",")


async def test_a_buckets_endpoint_may_have_a_path(leaf: Leaf, harness: DownloadHarness) -> None:
    """n8n#13667: the path of the endpoint was dropped."""
    async with Bucket(tls=leaf.context()) as store:
        source = S3Source("models", "tts", endpoint=store.base + PREFIX)
        manifest = await resolved(harness, source, KEYS)
        assert await fetched(harness, source, manifest, KEYS) == FILES
        assert {entry.request.method for entry in store.log} == {"GET", "HEAD"}
        assert all(entry.status < 300 for entry in store.log)


def test_a_presigned_url_covers_the_endpoints_path() -> None:
    now, url = datetime.now(UTC), f"https://h.example{PREFIX}/models/tts/a%20b?versionId=1"
    expected = presign_v4(
        method="GET",
        url=urlsplit(url),
        region="us-east-1",
        credentials=Credentials(KEYS["accessKeyID"], KEYS["secretAccessKey"]),
        date=now,
        expires=60,
    ).geturl()
    found = presign(url, Keys(*KEYS.values()), region="us-east-1", now=now, expires=60)
    assert found.partition("?")[0] == expected.partition("?")[0]
    assert sorted(found.partition("?")[2].split("&")) == sorted(expected.partition("?")[2].split("&"))


async def test_a_hubs_endpoint_may_have_a_path(harness: DownloadHarness) -> None:
    """n8n#13667, for a Hub behind a repository manager: listing with pages, redirects within the Hub, and the CDN."""
    repo = Repo(FILES, lfs_from=CHUNK)
    harness.allow_plain_http = True
    async with CDN() as cdn, Hub({"acme/speech": repo}, cdn, page=1) as hub, Gateway(hub) as gateway:
        source = HuggingFaceSource("acme/speech", endpoint=gateway.base + PREFIX)
        manifest = await resolve(source, Routes(Route(client_context())), allow_plain_http=True)
        await harness.pull_manifest(manifest)
    assert {path: harness.read(path) for path in FILES} == FILES
    assert hub.log == []


async def test_the_endpoint_of_modelscope_may_have_a_path(harness: DownloadHarness) -> None:
    harness.allow_plain_http = True
    async with ModelScope({"acme/speech": Model(FILES)}) as server, Gateway(server) as gateway:
        source = ModelScopeSource("acme/speech", endpoint=gateway.base + PREFIX)
        manifest = await resolve(source, Routes(Route(client_context())), allow_plain_http=True)
        await harness.pull_manifest(manifest)
    assert {path: harness.read(path) for path in FILES} == FILES
