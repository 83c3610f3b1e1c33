"""The source ``http`` against real servers on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelferry.errors import (
    CertificateRefused,
    Denied,
    InvalidSpec,
    ModelferryError,
    NotFound,
    PlainHTTPRefused,
    ServerMisbehaves,
    SizeMismatch,
    SourceUnavailable,
    UnexpectedContent,
    UnknownHost,
)
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.manifest import Digest, FileEntry, Manifest, decode
from modelferry.messages import Outcome
from modelferry.messages.manifest_log import read_manifest
from modelferry.resource.source import HTTPFile, HTTPSource
from modelferry.sources import http_files, resolve
from modelferry.sources.retry import Retry
from modelferry.sources.source_client import CONCURRENCY, SourceClient
from origin.certs import Authority
from origin.listener import Listener
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.network

CONTENTS = {"a.bin": b"a" * 1000, "b/c.yaml": b"c: 1\n", "empty": b""}
SHA = Digest("sha256", "0" * 64)
EMPTY = Digest("sha256", hashlib.sha256(b"").hexdigest())


#: Trusts the system's authorities, which no server here has.
PLAIN = Routes(Route(client_context()))


@pytest.fixture
async def origin() -> AsyncIterator[HostileOrigin]:
    async with HostileOrigin(CONTENTS) as server:
        yield server


async def resolved(*files: HTTPFile) -> Manifest:
    return await resolve(HTTPSource(files), PLAIN, allow_plain_http=True)


async def entry(origin: HostileOrigin, **changes: Any) -> FileEntry:
    return (await resolved(HTTPFile("a.bin", origin.url("a.bin"), **changes))).files[0]


async def test_a_source_is_not_queried_if_everything_is_declared_and_mirrors_have_the_files(
    origin: HostileOrigin,
) -> None:
    known = HTTPFile("a.bin", origin.url("a.bin"), digest=SHA, size=1000)
    asked = await resolved(known)
    assert len(origin.entries) == 1
    assert await resolve(HTTPSource((known,)), PLAIN, mirrored=True) == asked
    assert len(origin.entries) == 1


@pytest.mark.parametrize("unknown", [{"digest": SHA}, {"size": 5}], ids=["size", "digest"])
async def test_a_source_is_queried_for_undeclared_values_even_if_mirrors_have_the_files(
    origin: HostileOrigin, unknown: dict[str, Any]
) -> None:
    known = HTTPFile("a.bin", origin.url("a.bin"), digest=SHA, size=1000)
    other = HTTPFile("b/c.yaml", origin.url("b/c.yaml"), **unknown)
    files = (await resolve(HTTPSource((known, other)), PLAIN, allow_plain_http=True, mirrored=True)).files
    assert [file.size for file in files] == [1000, 5]
    assert len(origin.entries) == 2


async def test_sizes_are_discovered_and_the_files_sorted(origin: HostileOrigin) -> None:
    manifest = await resolved(*(HTTPFile(path, origin.url(path)) for path in reversed(CONTENTS)))
    assert [(file.path, file.size) for file in manifest.files] == [("a.bin", 1000), ("b/c.yaml", 5), ("empty", 0)]
    assert [file.locations[0].url for file in manifest.files] == [origin.url(path) for path in CONTENTS]


@pytest.mark.parametrize("declared", [{}, {"size": 0}, {"size": 0, "digest": EMPTY}, {"digest": EMPTY}])
@pytest.mark.parametrize(
    "rules",
    [
        (),
        (Rule(ranged=True, status=416, fields=(("Content-Range", "bytes */0"),)),),
        (Rule(ranged=True, status=416),),
        (Rule(raw="HTTP/1.1 206 OK\r\nContent-Range: bytes 0--1/0\r\nContent-Length: 0\r\n\r\n"),),
        (Rule(ignore_range=True),),
    ],
    ids=["origin", "416 with a length", "416 without a length", "206", "200"],
)
async def test_an_empty_file_is_resolved(
    origin: HostileOrigin, rules: tuple[Rule, ...], declared: dict[str, Any]
) -> None:
    """ankane/blazer#71 and Azure/Azurite#1682: an empty file has no first byte."""
    for rule in rules:
        origin.script.add(rule)
    (file,) = (await resolved(HTTPFile("empty", origin.url("empty"), **declared))).files
    assert file.size == 0


@pytest.mark.parametrize(
    "raw",
    [
        "HTTP/1.1 206 OK\r\nContent-Range: Bytes 0-0/1000\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-0/1000\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000, 1000\r\n\r\n" + 1000 * "a",
        "HTTP/1.1 206 OK\r\nX-A: b\r\n c\r\nContent-Range: bytes 0-0/1000\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 206 OK\nContent-Range: bytes 0-0/1000\nContent-Length: 1\n\na",
    ],
    ids=["Bytes", "two lengths", "a list of lengths", "folded", "lone LF"],
)
async def test_an_old_form_with_one_meaning_is_read(origin: HostileOrigin, raw: str) -> None:
    """nodejs/node#6517: two equal lengths and their like; the download reads them too (tests/network/catalogue.py)."""
    origin.script.add(Rule(raw=raw))
    assert (await entry(origin)).size == 1000


async def test_a_file_whose_first_byte_is_refused_is_not_taken_as_empty(origin: HostileOrigin) -> None:
    origin.script.add(Rule(ranged=True, status=416))
    with pytest.raises(ServerMisbehaves, match="Content-Range is missing"):
        await entry(origin)


async def test_a_file_is_resolved_with_one_request_for_its_first_bytes(origin: HostileOrigin) -> None:
    origin.contents["a.bin"] = b"a" * 5000
    await entry(origin, digest=SHA)
    await entry(origin)
    assert [(request.range, request.sent) for request in origin.entries] == [("bytes=0-0", 1), ("bytes=0-1023", 1024)]


async def test_a_sign_in_page_is_not_taken_as_the_file(origin: HostileOrigin) -> None:
    """aria2/aria2#1828: a redirect to a page with status 200."""
    origin.contents["login"] = b"<!doctype html><title>Sign in</title>" + b" " * 5000
    origin.script.add(Rule(path="a.bin", redirect="/login?to=planted"))
    for declared in ({}, {"size": 1000}, {"size": 5037}, {"digest": SHA, "size": 1000}):
        with pytest.raises(UnexpectedContent, match=r"a\.bin: http.*/login is a web page, and not the file") as caught:
            await entry(origin, **declared)
        assert "planted" not in caught.value.message


async def test_a_pointer_is_the_file_only_if_its_digest_is_declared(origin: HostileOrigin) -> None:
    """onnx/models#317: 131 bytes of Git LFS in place of the model."""
    pointer = origin.contents["a.bin"] = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\n".encode()
    for declared in ({}, {"digest": SHA, "size": 5}, {"size": len(pointer)}):
        with pytest.raises(UnexpectedContent, match="a Git LFS pointer"):
            await entry(origin, **declared)
    assert (await entry(origin, digest=Digest("sha256", hashlib.sha256(pointer).hexdigest()))).size == len(pointer)


async def test_an_etag_replaces_an_unknown_digest(origin: HostileOrigin) -> None:
    without, with_digest = await entry(origin), await entry(origin, digest=SHA)
    assert without.validator.startswith('"')
    assert (with_digest.validator, with_digest.digest) == ("", SHA)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            Rule(etag="", last_modified="Sun, 22 Nov 2026 10:00:00 GMT"),
            Rule(etag="", last_modified="Sun, 22 Nov 2026 10:00:01 GMT"),
        ),
        (Rule(etag='W/"1"'), Rule(etag='W/"2"')),
        (Rule(etag="1"), Rule(etag="2")),
    ],
    ids=["Last-Modified", "weak", "without quotes"],
)
async def test_a_file_that_was_replaced_is_another_revision(origin: HostileOrigin, before: Rule, after: Rule) -> None:
    """BiocFileCache#5: other bytes of the same length."""
    file = HTTPFile("a.bin", origin.url("a.bin"))
    origin.script.add(before)
    revision = (await resolved(file)).revision
    assert (await resolved(file)).revision == revision
    origin.script.add(after)
    assert (await resolved(file)).revision != revision


@pytest.mark.parametrize("status", [400, 403, 406])
async def test_a_firewall_that_forbids_ranges_is_asked_without(
    origin: HostileOrigin, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """SpiderLabs/owasp-modsecurity-crs#242: rule 958291 of a firewall refuses ranges from the first byte."""
    origin.script.add(Rule(ranged=True, status=status))
    assert (await entry(origin)).size == 1000
    assert "such as a web application firewall, refuses requests for a range that begins at byte 0" in caplog.text
    assert [(request.method, request.start) for request in origin.received] == [("GET", 0), ("HEAD", None)]


@pytest.mark.parametrize(("cookie", "said"), [("a=planted", "the server wants a browser"), ("", "give the url that")])
async def test_a_server_that_redirects_for_a_cookie_is_told_so(origin: HostileOrigin, cookie: str, said: str) -> None:
    """A cookie wall redirects to the same URL until the client sends its cookie."""
    fields = (("Location", "/a.bin"), ("Set-Cookie", cookie)) if cookie else (("Location", "/a.bin"),)
    origin.script.add(Rule(status=302, fields=fields))
    with pytest.raises(ServerMisbehaves, match=f"more than 5 redirects.*{said}") as caught:
        await entry(origin)
    assert "planted" not in caught.value.message


async def test_a_changed_file_is_another_revision(origin: HostileOrigin) -> None:
    file = HTTPFile("a.bin", origin.url("a.bin"))
    before = await resolved(file)
    origin.contents["a.bin"] = b"b" * 1000
    assert (await resolved(file)).revision != before.revision


@pytest.mark.parametrize(
    "rule",
    [
        Rule(ignore_range=True),
        Rule(content_range="bytes 0-0/1000", ignore_range=True),
        Rule(redirect="/b/../a.bin", times=1),
        Rule(status=503, times=1),
        Rule(status=429, retry_after="0", times=2),
        Rule(cut=0, raw="", times=1),
        Rule(etag="", last_modified=""),
    ],
    ids=["no ranges", "200 with a range", "redirected", "503 once", "429 twice", "closed at once", "no validator"],
)
async def test_servers_with_limited_features_are_supported(origin: HostileOrigin, rule: Rule) -> None:
    origin.contents["b/../a.bin"] = CONTENTS["a.bin"]
    origin.script.add(rule)
    assert (await entry(origin)).size == 1000


async def test_a_size_that_the_server_does_not_send_must_be_declared(origin: HostileOrigin) -> None:
    origin.script.add(Rule(content_range="bytes 0-0/*"))
    assert (await entry(origin, size=1000)).size == 1000
    with pytest.raises(ServerMisbehaves, match="does not report the file's length; declare it as size"):
        await entry(origin)


async def test_a_size_mismatch_is_reported_with_both_sizes(origin: HostileOrigin) -> None:
    with pytest.raises(SizeMismatch, match=r"a\.bin: .* the server has 1000 bytes, 999 are declared; check that url"):
        await entry(origin, size=999)


@pytest.mark.parametrize(
    ("rule", "kind", "said"),
    [
        (Rule(status=404), NotFound, "404 Not Found; check the url"),
        (Rule(status=410), NotFound, "410 Gone"),
        (Rule(status=401), Denied, "401 Unauthorized; give the credential that it requires: add `auth: "),
        (Rule(status=403), Denied, "403 Forbidden"),
        (Rule(status=400), ServerMisbehaves, "400 Bad Request"),
        (Rule(status=204), ServerMisbehaves, "204 No Content"),
        (Rule(content_range=""), ServerMisbehaves, "Content-Range is missing"),
        (Rule(content_range="bytes 9-9/1000"), ServerMisbehaves, "not about the first byte"),
        (Rule(encoding="gzip"), ServerMisbehaves, "declare the digest of the stored bytes"),
        (Rule(redirect="/a.bin"), ServerMisbehaves, "more than 5 redirects"),
        (Rule(redirect="ftp://h/a"), ServerMisbehaves, "without a usable Location"),
        (Rule(raw="SSH-2.0-x\r\n\r\n"), ServerMisbehaves, "is not HTTP"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_a_refusal_is_reported_with_file_url_status_and_remedy(
    origin: HostileOrigin, rule: Rule, kind: type[ModelferryError], said: str
) -> None:
    origin.script.add(rule)
    with pytest.raises(kind) as caught:
        await resolved(HTTPFile("m/a.bin", origin.url("a.bin?signature=hunter2")))
    assert caught.value.file == "m/a.bin"
    assert caught.value.message.startswith(f"m/a.bin: {origin.url('a.bin')}")
    assert said in caught.value.message
    assert "hunter2" not in caught.value.message


async def test_of_several_failing_files_the_first_is_named_and_the_others_counted(origin: HostileOrigin) -> None:
    files = [HTTPFile(f"f{number}", origin.url(f"absent-{number}")) for number in range(30)]
    with pytest.raises(NotFound, match=r"^f0: .*absent-0.* \(29 other files failed too\)$"):
        await resolved(*files, HTTPFile("z", origin.url("a.bin")))


async def test_many_files_share_few_connections(origin: HostileOrigin) -> None:
    origin.contents |= {f"f{number}": b"x" for number in range(200)}
    manifest = await resolved(*(HTTPFile(f"f{n}", origin.url(f"f{n}")) for n in range(200)))
    assert len(manifest.files) == 200
    assert origin.accepted <= CONCURRENCY


async def test_a_path_that_is_a_file_and_a_directory_is_an_error_of_the_spec(origin: HostileOrigin) -> None:
    with pytest.raises(InvalidSpec, match="'a' is a file and a directory at once"):
        await resolved(HTTPFile("a", origin.url("a.bin")), HTTPFile("a/b", origin.url("a.bin")))


async def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownHost, match=r"a: https://models\.invalid/a: no such host models\.invalid; check"):
        await resolved(HTTPFile("a", "https://models.invalid/a?signature=hunter2"))


async def test_an_unavailable_source_is_reported_with_the_values_to_declare_if_mirrors_have_the_files() -> None:
    source = HTTPSource((HTTPFile("a", "https://models.invalid/a", digest=SHA),))
    with pytest.raises(UnknownHost, match=r"no such host models\.invalid; .*\. With size and sha256 .* the mirrors do"):
        await resolve(source, PLAIN, mirrored=True)


async def test_plain_http_is_refused_before_a_byte_is_sent(origin: HostileOrigin) -> None:
    with pytest.raises(PlainHTTPRefused, match=r"a: http://.* is not encrypted; .*allowPlainHTTP: true"):
        await resolve(HTTPSource((HTTPFile("a", origin.url("a.bin")),)), PLAIN)
    assert origin.accepted == 0


async def test_a_server_that_is_down_fails_after_the_timeout() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a"
        retry = Retry(0.0)
        async with SourceClient(Route(client_context()), allow_plain_http=True, retry=retry) as client:
            with pytest.raises(SourceUnavailable, match=r"a: http://.*/a: Connection refused; tried once\. Check"):
                await http_files.resolve(HTTPSource((HTTPFile("a", url),)), client)


@asynccontextmanager
async def recording(answer: Callable[[str], str]) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that keeps the request lines to the letter."""
    targets: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        targets.append(head.split(b" ")[1].decode())
        writer.write(answer(targets[-1]).encode())
        await writer.drain()

    async with Listener(serve) as server:
        yield f"http://127.0.0.1:{server.port}", targets


SIGNED = "/a%2fb/%7Ec%20d?X-Amz-Signature=a%2Bb+c%2f&d=%c3%bc'(*)~"
FIVE_BYTES = "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-0/5\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"


async def test_a_signed_url_is_sent_unchanged() -> None:
    async with recording(lambda _: FIVE_BYTES) as (base, targets):
        manifest = await resolved(HTTPFile("a", base + SIGNED))
    assert targets == [SIGNED]
    assert manifest.files[0].locations[0].url == base + SIGNED


async def test_a_redirect_is_followed_exactly_but_the_location_remains_the_users_url() -> None:
    def answer(target: str) -> str:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {SIGNED}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return moved if target == "/a" else FIVE_BYTES

    async with recording(answer) as (base, targets):
        manifest = await resolved(HTTPFile("a", f"{base}/a"))
    assert targets == ["/a", SIGNED]
    assert manifest.files[0].locations[0].url == f"{base}/a"


async def tls_entry(origin: HostileOrigin, ca_file: Path | None, host: str = "127.0.0.1") -> FileEntry:
    source = HTTPSource((HTTPFile("a.bin", origin.url("a.bin").replace("127.0.0.1", host)),))
    return (await resolve(source, Routes(Route(client_context(*([ca_file] if ca_file else [])))))).files[0]


async def test_a_server_of_a_trusted_ca_is_accepted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with HostileOrigin(CONTENTS, tls=authority.leaf("127.0.0.1").context()) as origin:
        assert (await tls_entry(origin, authority.ca_file)).size == 1000


async def test_a_redirect_from_tls_to_plain_http_is_refused(tmp_path: Path, origin: HostileOrigin) -> None:
    authority = Authority(tmp_path)
    leaf = authority.leaf("127.0.0.1").context()
    async with HostileOrigin(CONTENTS, tls=leaf, rules=[Rule(redirect=origin.url("a.bin"))]) as secure:
        with pytest.raises(PlainHTTPRefused, match=r"a\.bin: http://"):
            await tls_entry(secure, authority.ca_file)
    assert origin.accepted == 0


@pytest.mark.parametrize(
    ("leaf", "reason", "way_out"),
    [
        (lambda a: Authority(a.ca_file.parent, "other").leaf("127.0.0.1").context(), "UnknownAuthority", "CA bundle"),
        (lambda a: a.leaf("127.0.0.1", ends=timedelta(hours=-1)).context(), "CertificateExpired", "renew"),
        (lambda a: a.leaf("127.0.0.1", begins=timedelta(hours=1)).context(), "ClockSkew", "clock"),
        (lambda a: a.leaf("other.example").context(), "HostMismatch", "host name that the certificate lists"),
    ],
    ids=["authority", "expired", "not yet valid", "host"],
)
async def test_a_refused_certificate_is_reported_with_reason_and_remedy(
    tmp_path: Path, leaf: Callable[[Authority], ssl.SSLContext], reason: str, way_out: str
) -> None:
    authority = Authority(tmp_path)
    async with HostileOrigin(CONTENTS, tls=leaf(authority)) as origin:
        with pytest.raises(CertificateRefused, match=way_out) as caught:
            await tls_entry(origin, authority.ca_file)
    assert caught.value.reason == reason
    assert origin.entries == []


@asynccontextmanager
async def blocking(answer: Callable[[socket.socket], object]) -> AsyncIterator[str]:
    """A server of one connection without asyncio, whose TLS would close it without the alert that others send first."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)  # a client that never comes must not hold up the suite
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/a.bin"
        await serving


async def test_a_server_with_only_an_old_tls_version_is_reported(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.leaf("127.0.0.1").context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2

    def handshake(connection: socket.socket) -> None:
        with suppress(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    async with blocking(handshake) as url:
        with pytest.raises(
            CertificateRefused, match=r"no version of TLS that is allowed here; enable TLS 1\.3"
        ) as caught:
            await resolve(HTTPSource((HTTPFile("a.bin", url),)), Routes(Route(client_context(authority.ca_file))))
    assert caught.value.reason == "TLSVersion"


async def test_plain_http_on_an_https_port_is_reported() -> None:
    async with blocking(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        with pytest.raises(CertificateRefused, match="does not speak TLS on this port"):
            await resolved(HTTPFile("a.bin", url))


async def agent(artifact: dict[str, Any], directory: Path) -> tuple[int, str, str, Outcome | None]:
    """Run ``modelferry agent resolve``: exit code, standard output, standard error, outcome."""
    (directory / "artifact.yaml").write_text(yaml.safe_dump(artifact))
    outcome = directory / "outcome"
    outcome.write_text("left over from before, and longer than what comes now" * 100)
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("modelferry")), "agent", "resolve"),
        *("--artifact", str(directory / "artifact.yaml"), "--outcome", str(outcome)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode(), Outcome.decode(outcome.read_text())


def artifact_of(**url_of: str) -> dict[str, Any]:
    files = [{"path": path, "url": url} for path, url in url_of.items()]
    return {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "m"},
        "spec": {"source": {"http": {"files": files}}, "transfer": {"tls": {"allowPlainHTTP": True}}},
    }


async def test_the_agent_prints_the_manifest_and_writes_its_outcome(origin: HostileOrigin, tmp_path: Path) -> None:
    code, out, err, outcome = await agent(artifact_of(a=origin.url("a.bin")), tmp_path)
    data = read_manifest(out)
    assert data is not None
    manifest = decode(data)
    assert (code, err) == (0, "")
    assert [(file.path, file.size) for file in manifest.files] == [("a", 1000)]
    assert outcome == Outcome(True, revision=manifest.revision, bytes=1000)


async def test_the_agent_writes_its_error_to_the_termination_message(origin: HostileOrigin, tmp_path: Path) -> None:
    code, out, err, outcome = await agent(artifact_of(a=origin.url("absent?signature=hunter2")), tmp_path)
    assert (code, read_manifest(out)) == (3, None)
    assert outcome is not None
    assert (outcome.ok, outcome.reason, outcome.kind, outcome.file) == (False, "NotFound", "stalled", "a")
    assert err == f"modelferry: NotFound: {outcome.message}\n"
    assert "hunter2" not in out + err + outcome.encode()


async def test_the_agent_distinguishes_an_invalid_artifact_from_a_source_error(tmp_path: Path) -> None:
    code, _, err, outcome = await agent(artifact_of(**{"../a": "https://h.example/a"}), tmp_path)
    assert code == 2
    assert outcome is not None
    assert outcome.reason == "InvalidSpec"
    assert "spec.source.http.files[0].path" in err


async def test_a_checksum_list_names_the_files_beside_it() -> None:
    body = b"x" * 1000
    digest = hashlib.sha256(body).hexdigest()
    listed = {"m/SHA256SUMS": f"{digest}  sub/a b.bin\n".encode(), "m/sub/a%20b.bin": body, "m/sub/a b.bin": body}
    async with HostileOrigin(listed) as origin:
        source = HTTPSource(manifest_url=origin.url("m/SHA256SUMS"))
        (file,) = (await resolve(source, PLAIN, allow_plain_http=True)).files
    assert (file.path, file.size, str(file.digest)) == ("sub/a b.bin", 1000, f"sha256:{digest}")


async def test_a_missing_or_oversized_checksum_list_is_reported() -> None:
    async with HostileOrigin({"long": b"0" * 2_000_001}) as origin:
        with pytest.raises(NotFound, match="the checksum list"):
            await resolve(HTTPSource(manifest_url=origin.url("missing")), PLAIN, allow_plain_http=True)
        with pytest.raises(ServerMisbehaves, match="longer than 2000000 bytes"):
            await resolve(HTTPSource(manifest_url=origin.url("long")), PLAIN, allow_plain_http=True)
