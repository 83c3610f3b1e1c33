"""Secrets of every kind, planted and looked for wherever a run leaves something: in none of it, however it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from network.harness import Serve
from network.test_hub_pull import MODELFERRY, command_lines
from origin.certs import CLIENT, Authority, Leaf
from origin.nginx import Nginx
from origin.planted import found_in, key_lines
from origin.proxies import PASSWORD, USERNAME, Dante, Squid
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the command's children in /proc")

#: Each of them is looked for. Signs that a URL escapes and base64 does not keep are in them on purpose.
BASIC, MIRROR, SECRET_KEY, SESSION, SIGNATURE, TOKEN, REGISTRY, HEADER, LAB_HEADER = (
    f"pl4nted+{kind}/7c1e="
    for kind in ("basic", "mirror", "s3key", "session", "signature", "hub", "registry", "header", "lab")
)
#: Files that have the source's URLs as they are asked for.
NEEDED = {"m.json", "manifest.json"}
FILES = {f"part/{number:02}.json": Random(number).randbytes(20_000) for number in range(40)}
FILES["model.safetensors"] = Random(99).randbytes(3 << 20)


def test_base64_is_found_at_each_alignment() -> None:
    for before in range(4):
        encoded = base64.b64encode(b"user:"[:before] + BASIC.encode() + b"rest"[:before])
        assert found_in(encoded, BASIC, MIRROR) == [BASIC]


@dataclass
class Run:
    """One run of the command: ``said`` is all that it printed, ``processes`` what those were started with."""

    code: int | None = None
    said: str = ""
    processes: set[str] = field(default_factory=set)


@dataclass
class Place:
    """A directory for an artifact, its Secrets, its target and temporary files."""

    root: Path
    trust: Path
    tmp: Path

    def secret(self, name: str, **keys: str) -> dict[str, Any]:
        """Put a Secret there; returns a reference to it."""
        (self.root / "secrets" / name).mkdir(parents=True)
        for key, value in keys.items():
            (self.root / "secrets" / name / key).write_text(value)
        return {"secretRef": {"name": name}}

    def header(self, name: str, value: str) -> dict[str, Any]:
        """An item of ``headers`` whose value is in a Secret of its own."""
        self.secret(name.lower(), value=value)
        return {"name": name, "secretRef": {"name": name.lower(), "key": "value"}}

    def write(self, **spec: Any) -> None:
        """The artifact."""
        head = {"apiVersion": "modelferry.dev/v1alpha1", "kind": "ModelArtifact", "metadata": {"name": "m"}}
        (self.root / "m.json").write_text(json.dumps(head | {"spec": spec}))

    async def pull(self, *, kill_at: int = 0) -> Run:
        """Run the command, looking at its processes at each line that it prints. At line `kill_at` its children are
        killed, and at the next one it is killed itself."""
        words = ["pull", self.root / "m.json", "--to", self.root / "target", "--json"]
        words += ["--secrets", self.root / "secrets", "--ca-file", self.trust]
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        process = await asyncio.create_subprocess_exec(
            MODELFERRY, *map(str, words), env=clean | {"TMPDIR": str(self.tmp)}, limit=1 << 20,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        run, lines = Run(), 0
        assert process.stdout is not None
        async for line in process.stdout:
            run.said += line.decode()
            run.processes |= set(command_lines(process.pid))
            self._keep_logs()
            lines += 1
            if kill_at and lines == kill_at:
                for child in children(process.pid):
                    os.kill(child, signal.SIGKILL)
            elif kill_at and lines == kill_at + 1:
                process.kill()
        run.code = await process.wait()
        return run

    def _keep_logs(self) -> None:
        """The logs of the children, which the command takes away at its end; in a pod they stay."""
        for log in self.tmp.rglob("*.log"):
            kept = self.root / f"{log.parent.name}-{log.name}"
            if not kept.exists():
                with suppress(FileNotFoundError):
                    os.link(log, kept)

    def left(self) -> Iterator[tuple[str, bytes]]:
        """All that is on the disk, but for the Secrets. After a kill, a process that ends by itself may still remove
        files (SQLite its write-ahead log)."""
        for path in (*self.root.rglob("*"), *self.tmp.rglob("*")):
            if path.is_file() and not path.is_symlink() and self.root / "secrets" not in path.parents:
                with suppress(FileNotFoundError):
                    yield str(path), path.read_bytes()

    def holders(self, run: Run, *secrets: str) -> list[str]:
        """Where one of `secrets` is found."""
        looked = [("what was said", run.said.encode()), *(("a process", words.encode()) for words in run.processes)]
        looked += self.left()
        return [f"{secret} in {where}" for where, text in looked for secret in found_in(text, *secrets)]


def children(parent: int) -> list[int]:
    """Of a process."""
    found = (Path("/proc") / str(parent) / "task" / str(parent) / "children").read_text()
    return [int(word) for word in found.split()]


@pytest.fixture
def location(tmp_path: Path, authority: Authority) -> Iterator[Place]:
    (tmp_path / "there").mkdir()
    # Short, or the command would use another one: a socket's address holds 103 bytes.
    with tempfile.TemporaryDirectory(prefix="planted-") as tmp:
        yield Place(tmp_path / "there", authority.ca_file, Path(tmp))


@dataclass
class Everything:
    """A source and mirrors that each want to see something, behind a proxy that does too."""

    location: Place
    proxy: Squid | Dante
    servers: dict[str, HostileOrigin]
    nginx: Nginx
    key: list[str]

    @property
    def secrets(self) -> list[str]:
        """All that are planted."""
        return [BASIC, MIRROR, SECRET_KEY, SESSION, SIGNATURE, PASSWORD, HEADER, LAB_HEADER, *self.key]

    async def pull(self, **how: int) -> Run:
        """And assert that none of them is anywhere."""
        run = await self.location.pull(**how)
        assert self.location.holders(run, *self.secrets) == []
        return run


@asynccontextmanager
async def everything(
    location: Place, serve: Serve, leaf: Leaf, proxy: Squid | Dante, tmp_path: Path, rate: float
) -> AsyncIterator[Everything]:
    """All at once; each server brings `rate` bytes per second to a stream."""
    clients = Authority(tmp_path, "clients")
    reader = clients.leaf("reader", name="reader", purpose=CLIENT)
    who = location.secret("who", **{"tls.crt": reader.cert.read_text(), "tls.key": reader.key.read_text()})
    served = tmp_path / "served"
    for path, content in FILES.items():
        (served / path).parent.mkdir(parents=True, exist_ok=True)
        (served / path).write_bytes(content)
    basic = "Basic " + base64.b64encode(f"{USERNAME}:{BASIC}".encode()).decode()
    async with (
        serve(FILES, rules=[Rule(authorization=basic)], rate=rate) as source,
        serve(FILES, rules=[Rule(authorization=f"Bearer {MIRROR}")], rate=rate) as lab,
        serve({f"models/{path}": content for path, content in FILES.items()}, rate=rate) as bucket,
        serve(FILES, rate=rate) as signed,
    ):
        with Nginx(served, leaf=leaf, clients=clients.ca_file, rate=int(rate)) as nginx:
            keys = {"accessKeyID": "reader", "secretAccessKey": SECRET_KEY, "sessionToken": SESSION}
            template = {"template": signed.url("{path}") + f"?sig={quote(SIGNATURE, safe='')}"}
            location.write(
                source={
                    "http": {
                        "files": [
                            {"path": path, "url": source.url(path), "sha256": sha256(FILES[path]).hexdigest()}
                            for path in FILES
                        ]
                    }
                },
                auth=location.secret("source", username=USERNAME, password=BASIC),
                headers=[location.header("X-Api-Key", HEADER)],
                mirrors=[
                    {"name": "source", "priority": 0},
                    {
                        "name": "lab",
                        "priority": 0,
                        "url": lab.url("{path}"),
                        "auth": location.secret("lab", token=MIRROR),
                        "headers": [location.header("X-Lab-Key", LAB_HEADER)],
                    },
                    {
                        "name": "bucket",
                        "priority": 0,
                        "presigned": {
                            "s3": {"bucket": "models", "endpoint": bucket.url("").rstrip("/")}
                            | location.secret("bucket", **keys)
                        },
                    },
                    {"name": "signed", "priority": 0, "presigned": location.secret("signed", **template)},
                    {"name": "known", "priority": 0, "url": nginx.url("{path}"), "tls": {"clientCertificate": who}},
                ],
                transfer={
                    "progressDeadline": "10s",
                    "proxy": {
                        "url": proxy.url,
                        "auth": location.secret("proxy", username=USERNAME, password=PASSWORD),
                    },
                },
            )
            servers = {"source": source, "lab": lab, "bucket": bucket, "signed": signed}
            yield Everything(location, proxy, servers, nginx, key_lines(reader))


@pytest.mark.parametrize("kind", ["squid", "dante"])
async def test_no_secret_is_found_after_a_pull_that_needed_all_of_them(
    request: pytest.FixtureRequest, location: Place, serve: Serve, leaf: Leaf, tmp_path: Path, kind: str
) -> None:
    proxy: Squid | Dante = request.getfixturevalue(kind)
    async with everything(location, serve, leaf, proxy, tmp_path, rate=1 << 20) as all_:
        run = await all_.pull()
        assert run.code == 0, run.said[-2000:]
        # Each has been shown what it wanted to see, and nothing else.
        shown = {name: {entry.authorization for entry in one.entries} for name, one in all_.servers.items()}
        assert {name: len(values) for name, values in shown.items()} == dict.fromkeys(shown, 1)
        assert (shown["lab"], shown["bucket"], shown["signed"]) == ({f"Bearer {MIRROR}"}, {""}, {""})
        headers = {"source": ("x-api-key", HEADER), "lab": ("x-lab-key", LAB_HEADER)}
        for name, one in all_.servers.items():
            given = {pair for entry in one.received for pair in entry.fields if "key" in pair[0]}
            assert given == ({headers[name]} if name in headers else set()), name
        assert all("X-Amz-Security-Token=pl4nted" in entry.query for entry in all_.servers["bucket"].entries)
        assert all(quote(SIGNATURE, safe="") in entry.query for entry in all_.servers["signed"].entries)
        assert {request.client for request in all_.nginx.requests()} == {"CN=reader"}
        assert {peer for one in all_.servers.values() for peer in one.peers} == {proxy.outgoing}
    assert {path: (location.root / "target/current" / path).read_bytes() for path in FILES} == FILES
    assert any("agent fetch" in words for words in run.processes), "the children were not seen"
    assert any(name.endswith("chunks.db") for name, _ in location.left())
    assert any(name.endswith("-fetch.log") for name, _ in location.left())
    assert any(name.endswith(".modelferry-ready.json") for name, _ in location.left())


async def test_no_secret_is_found_when_servers_refuse_break_or_are_unavailable(
    location: Place, serve: Serve, leaf: Leaf, tmp_path: Path, squid: Squid
) -> None:
    async with everything(location, serve, leaf, squid, tmp_path, rate=1 << 20) as all_:
        for one in all_.servers.values():
            one.script.add(Rule(status=403))
        refused = await all_.pull()
        assert (refused.code, '"reason":"Denied"' in refused.said) == (3, True), refused.said[-2000:]
        for one in all_.servers.values():
            one.script.clear()
            one.script.add(Rule(raw="HTTP/1.1 nonsense\r\n\r\n"))
        broken = await all_.pull()
        assert (broken.code, "not HTTP" in broken.said) == (3, True), broken.said[-2000:]

    (location.root / "secrets/proxy/password").write_text(f"{PASSWORD}-wrong")
    denied = await location.pull()
    assert (denied.code, "ProxyDenied" in denied.said) == (3, True), denied.said[-2000:]
    assert location.holders(denied, *all_.secrets) == []


async def test_no_secret_is_found_after_processes_were_killed(
    location: Place, serve: Serve, leaf: Leaf, tmp_path: Path, squid: Squid
) -> None:
    async with everything(location, serve, leaf, squid, tmp_path, rate=256 << 10) as all_:
        killed = await all_.pull(kill_at=4)
        assert killed.code == -signal.SIGKILL, killed.said[-2000:]
        assert any("agent fetch" in words for words in killed.processes), "it was over too soon"
        assert any(name.endswith("fetch.log") for name, _ in location.left()), "it left nothing behind"


async def test_no_signature_is_found_when_the_server_of_a_signed_url_is_down(location: Place, serve: Serve) -> None:
    path = "model.safetensors"
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        base = f"https://127.0.0.1:{deaf.getsockname()[1]}"
        signed = location.secret("signed", template=f"{base}/{{path}}?sig={quote(SIGNATURE, safe='')}")
        async with serve(FILES) as source:
            file = {"path": path, "url": source.url(path), "sha256": sha256(FILES[path]).hexdigest()}
            mirror = {"name": "signed", "priority": 0, "presigned": signed}
            location.write(source={"http": {"files": [file]}}, mirrors=[mirror])
            run = await location.pull()
    assert run.code == 0, run.said[-2000:]
    assert '"name":"signed","state":"Down"' in run.said
    assert "cannot be reached: Connect call failed" in run.said
    assert location.holders(run, SIGNATURE, quote(SIGNATURE, safe="")) == []


async def test_a_signed_url_is_shown_without_its_query_when_its_server_stops(location: Place, serve: Serve) -> None:
    """Here the URL itself carries the permission: it stands in the artifact and in what is to be fetched, and in
    nothing that anybody says."""
    path = "model.safetensors"
    # The first request is the request for the size; those of the download are broken off.
    async with serve(FILES, rules=[Rule(first=2, reset=4096)]) as source:
        signed = f"{source.url(path)}?sig={quote(SIGNATURE, safe='')}"
        file = {"path": path, "url": signed, "sha256": sha256(FILES[path]).hexdigest()}
        location.write(source={"http": {"files": [file]}}, transfer={"progressDeadline": "10s"})
        pulling = asyncio.create_task(location.pull())
        await source.until(lambda: len(source.entries) >= 2)
    run = await pulling
    assert (run.code, '"reason":"SourceUnavailable"' in run.said) == (3, True), run.said[-2000:]
    assert f"{signed.partition('?')[0]} cannot be reached: Connect call failed" in run.said
    assert {entry.query for entry in source.received} == {signed.partition("?")[2]}
    holders = location.holders(run, SIGNATURE)
    needed = [f"{SIGNATURE} in {file}" for file, _ in location.left() if Path(file).name in NEEDED]
    assert sorted(holders) == sorted(needed), "a server received it"


@pytest.mark.parametrize(
    ("source", "keys", "reason"),
    [
        ({"huggingFace": {"repo": "acme/speech"}}, {"token": TOKEN}, "TokenRefused"),
        (
            {"s3": {"bucket": "models"}},
            {"accessKeyID": "reader", "secretAccessKey": SECRET_KEY, "sessionToken": SESSION},
            "BadCredentials",
        ),
        ({"oci": {"reference": "{host}/models/tts:v1"}}, {"username": "me", "password": REGISTRY}, "BadCredentials"),
        (
            {"oci": {"reference": "{host}/models/tts:v1"}},
            {
                ".dockerconfigjson": json.dumps(
                    {"auths": {"{host}": {"auth": base64.b64encode(f"me:{REGISTRY}".encode()).decode()}}}
                )
            },
            "BadCredentials",
        ),
    ],
)
async def test_no_secret_is_found_when_a_source_refuses_them(
    location: Place, serve: Serve, source: dict[str, Any], keys: dict[str, str], reason: str
) -> None:
    async with serve({}) as server:
        host, base = server.url("").removeprefix("https://").rstrip("/"), server.url("").rstrip("/")
        # A Hub, a store and a registry at once, which know no user.
        body = f"<Error><Code>InvalidAccessKeyId</Code><Message>{host}</Message></Error>"
        challenge = (("WWW-Authenticate", f'Bearer realm="{base}/token",service="r"'),)
        server.script.add(Rule(path="*/manifests/*", status=401, fields=challenge))
        server.script.add(Rule(path="token", status=401))
        server.script.add(Rule(path="api/*", status=401, fields=(("X-Error-Message", "Invalid credentials"),)))
        length = f"Content-Length: {len(body)}\r\nContent-Type: application/xml\r\n\r\n{body}"
        server.script.add(Rule(path="models/", raw=f"HTTP/1.1 403 Forbidden\r\n{length}"))
        ((kind, fields),) = source.items()
        fields = {name: value.replace("{host}", host) for name, value in fields.items()}
        fields |= {} if kind == "oci" else {"endpoint": base}
        secret = location.secret("keys", **{name: value.replace("{host}", host) for name, value in keys.items()})
        location.write(source={kind: fields}, auth=secret)
        run = await location.pull()
        assert server.received, "no server was asked"
        assert any(value for asked in server.received for name, value in asked.fields if name == "authorization")
    assert (run.code, f'"reason":"{reason}"' in run.said) == (3, True), run.said[-2000:]
    planted = [value for value in (TOKEN, SECRET_KEY, SESSION, REGISTRY) if value in keys.values()]
    assert location.holders(run, *(planted or [REGISTRY])) == []


FIELD = f"pl4nted/{'field' * 1800}"
HTTP_FILE = {"http": {"files": [{"path": "a.bin", "url": "{base}/a.bin"}]}}
OCI_TAG, BUCKET = {"oci": {"reference": "{host}/models/tts:v1"}}, {"s3": {"bucket": "models", "endpoint": "{base}"}}
HUB = {"huggingFace": {"repo": "a/b", "endpoint": "{base}"}}
SKEWED = "<Error><Code>RequestTimeTooSkewed</Code></Error>"


@pytest.mark.parametrize(
    ("source", "status", "fields", "body"),
    [
        (HTTP_FILE, 302, ["Location: {base}/gone?X-Amz-Signature={planted}"], ""),
        (HTTP_FILE, 302, ["Location: {base}/a.bin?X-Amz-Signature={planted}"], ""),
        (HTTP_FILE, 302, ["Location: http://{host}/a?X-Amz-Signature={planted}"], ""),
        (HTTP_FILE, 302, ["Location: https://h:{planted}/"], ""),
        (HTTP_FILE, 206, ["Content-Range: bytes {planted}"], ""),
        (HTTP_FILE, 200, ["Content-Encoding: {planted}"], ""),
        (HTTP_FILE, 200, ["Transfer-Encoding: {planted}"], ""),
        (HTTP_FILE, 200, ["Content-Length: {planted}"], ""),
        (HTTP_FILE, 200, ["Broken {planted}"], ""),
        (OCI_TAG, 401, ['WWW-Authenticate: Bearer realm="https://h:{planted}/",service="r"'], ""),
        (OCI_TAG, 200, ["Docker-Content-Digest: sha256:{planted}"], "{}"),
        (OCI_TAG, 200, ["Content-Type: application/{planted}"], "{}"),
        (BUCKET, 403, ["Date: {planted}"], SKEWED),
        (BUCKET, 301, ["x-amz-bucket-region: {planted}"], ""),
        (HUB, 403, ["X-Error-Code: {planted}", "X-Error-Message: {planted}"], ""),
    ],
)
async def test_no_value_of_a_response_field_is_found_at_resolve(
    location: Place, serve: Serve, source: dict[str, Any], status: int, fields: list[str], body: str
) -> None:
    """arrow-rs-object-store#52: a signature in a Location, or a cookie, was printed with the client's error."""
    async with serve({}) as server:
        base = server.url("").rstrip("/")
        words = {"base": base, "host": base.removeprefix("https://"), "planted": FIELD}
        head = [f"HTTP/1.1 {status} X", *fields, "Set-Cookie: session={planted}"]
        if not any("Length" in field or "Transfer" in field for field in fields):
            head.append(f"Content-Length: {len(body)}")
        raw = "\r\n".join([*head, "", ""]) + body.replace("{", "{{").replace("}", "}}")
        server.script.add(Rule(path="gone", status=404, fields=(("Set-Cookie", f"session={FIELD}"),)))
        server.script.add(Rule(raw=raw.format(**words)))
        filled = json.loads(json.dumps(source).replace("{base}", base).replace("{host}", words["host"]))
        location.write(source=filled)
        run = await location.pull()
        assert server.received, "no server was asked"
    assert run.code in (2, 3), run.said[-2000:]
    assert location.holders(run, FIELD, FIELD[:60]) == []
    (error,) = [line for line in run.said.splitlines() if not line.startswith("{")] or [""]
    assert len(error) < 1000
