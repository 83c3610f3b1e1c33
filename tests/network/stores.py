"""Downloads from a bucket or a registry, with a Secret as the kubelet mounts it."""

from __future__ import annotations

from pathlib import Path

from modelferry import sources
from modelferry.agent.secrets import Secrets
from modelferry.agent.source_route import source_routes
from modelferry.http.routes import Routes
from modelferry.manifest import Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.secret import SecretReference
from modelferry.resource.spec import Spec
from network.harness import DownloadHarness

#: The name of the Secret.
NAME = "keys"


def routes(harness: DownloadHarness, source: S3Source | OCISource, secret: dict[str, str] | None) -> Routes:
    """The routes of an artifact whose spec.auth refers to a Secret with these keys (None: no spec.auth)."""
    root = harness.directory.parent / "secrets"
    if secret is not None:
        (root / NAME).mkdir(parents=True, exist_ok=True)
        for key, value in secret.items():
            (root / NAME / key).write_text(value)
    spec = Spec(source, auth=None if secret is None else SecretReference(NAME))
    return source_routes(spec, [Path(harness.ca_file)], Secrets(root))


async def resolved(
    harness: DownloadHarness, source: S3Source | OCISource, secret: dict[str, str] | None = None
) -> Manifest:
    """The manifest that the resolve pod creates."""
    return await sources.resolve(source, routes(harness, source, secret))


async def fetched(
    harness: DownloadHarness, source: S3Source | OCISource, manifest: Manifest, secret: dict[str, str] | None = None
) -> dict[str, bytes]:
    """The files that the fetch pod publishes, by path."""
    harness.credential = routes(harness, source, secret).for_mirror(SOURCE).credential
    await harness.pull_manifest(manifest)
    return {file.path: harness.read(file.path) for file in manifest.files}
