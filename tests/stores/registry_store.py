"""The registry of distribution with TLS, with htpasswd or a token server; files are pushed as oras does."""

from __future__ import annotations

import hashlib
import json
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin

from modelferry.http.auth.credentials import basic
from origin.certs import Leaf
from stores import programs
from stores.process import Server
from stores.token_server import TokenServer

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
#: The default of `oras push`, although the file is not a tar archive.
LAYER = "application/vnd.oci.image.layer.v1.tar"

USER, PASSWORD = "puller", "pull-secret"
#: bcrypt, the only format that the registry accepts: htpasswd -nbB puller pull-secret
_HTPASSWD = "puller:$2b$04$W3CduZEucALWcNcjfx/CveaIqkBFns3bzi/NS9eDeAI0wUIevy.rq\n"
_EMPTY = b"{}"


class RegistryStore(Server):
    """One registry at `host`:port; with `tokens` clients need its tokens, without it USER and PASSWORD."""

    def __init__(
        self, leaf: Leaf, ca_file: Path, *, host: str = "127.0.0.1", tokens: TokenServer | None = None
    ) -> None:
        super().__init__(host)
        self._leaf, self._tokens = leaf, tokens
        self._tls = ssl.create_default_context(cafile=ca_file)

    def command(self) -> tuple[list[str | Path], Mapping[str, str]]:
        """See Server."""
        (self.run / "htpasswd").write_text(_HTPASSWD)
        auth: dict[str, Any] = {"htpasswd": {"realm": "models", "path": str(self.run / "htpasswd")}}
        if self._tokens:
            jwks = self.run / "jwks.json"
            jwks.write_text(json.dumps(self._tokens.jwks()))
            names = {"issuer": self._tokens.issuer, "service": self._tokens.service}
            auth = {"token": {"realm": self._tokens.realm, "jwks": str(jwks), **names}}
        http = {"addr": self.authority, "tls": {"certificate": str(self._leaf.cert), "key": str(self._leaf.key)}}
        config = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.run / "data")}, "delete": {"enabled": True}},
            "http": http,
            "auth": auth,
        }
        (self.run / "config.json").write_text(json.dumps(config))  # YAML is a superset of it
        return [programs.registry(), "serve", self.run / "config.json"], {"OTEL_TRACES_EXPORTER": "none"}

    def push(self, repository: str, tag: str, files: Mapping[str, bytes], **manifest: Any) -> str:
        """Push `files` as layers titled by their paths; `manifest` replaces fields. Returns the manifest's digest."""
        layers = [self.layer(repository, content, {TITLE: path}) for path, content in files.items()]
        config = self.layer(repository, _EMPTY, {}, "application/vnd.oci.empty.v1+json")
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.example.model.v1",
            "config": config,
            "layers": layers,
        } | manifest
        return self.push_manifest(repository, tag, document)

    def push_manifest(self, repository: str, tag: str, manifest: Mapping[str, Any]) -> str:
        """Push a manifest or an index unchanged."""
        body = json.dumps(manifest).encode()
        self._request("PUT", repository, f"/v2/{repository}/manifests/{tag}", body, str(manifest["mediaType"]))
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def layer(
        self, repository: str, content: bytes, annotations: Mapping[str, str], media_type: str = LAYER
    ) -> dict[str, Any]:
        """Push a blob; returns its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        location = self._request("POST", repository, f"/v2/{repository}/blobs/uploads/")["Location"]
        target = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        self._request("PUT", repository, target, content, "application/octet-stream")
        return {"mediaType": media_type, "digest": digest, "size": len(content), "annotations": dict(annotations)}

    def _request(
        self, method: str, repository: str, target: str, body: bytes = b"", kind: str = ""
    ) -> Mapping[str, str]:
        url = urljoin(f"https://{self.authority}", target)
        request = urllib.request.Request(url, data=body, method=method)
        authorization = (
            f"Bearer {self._tokens.token(repository, ['pull', 'push'])}"
            if self._tokens
            else basic(USER, PASSWORD).authorization
        )
        request.add_header("Authorization", authorization)
        if kind:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, context=self._tls) as response:
                return dict(response.headers)
        except HTTPError as error:
            raise AssertionError(f"{method} {target}: {error.code} {error.read()[:300]!r}") from None
