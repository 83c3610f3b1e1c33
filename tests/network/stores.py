"""Pulls from a bucket or a registry, with a Secret as the kubelet mounts it."""

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
from network.world import World

#: The name of the one Secret.
NAME = "keys"


def routes(world: World, source: S3Source | OCISource, secret: dict[str, str] | None) -> Routes:
    """How `source` is reached by an artifact whose spec.auth names a Secret with these keys (None: it has no auth)."""
    root = world.directory.parent / "secrets"
    if secret is not None:
        (root / NAME).mkdir(parents=True, exist_ok=True)
        for key, value in secret.items():
            (root / NAME / key).write_text(value)
    spec = Spec(source, auth=None if secret is None else SecretReference(NAME))
    return source_routes(spec, [Path(world.ca_file)], Secrets(root))


async def resolved(world: World, source: S3Source | OCISource, secret: dict[str, str] | None = None) -> Manifest:
    """What the resolve pod makes of it."""
    return await sources.resolve(source, routes(world, source, secret))


async def fetched(
    world: World, source: S3Source | OCISource, manifest: Manifest, secret: dict[str, str] | None = None
) -> dict[str, bytes]:
    """What the fetch pod makes of it: the published files."""
    world.credential = routes(world, source, secret).of(SOURCE).credential
    await world.pull_manifest(manifest)
    return {file.path: world.read(file.path) for file in manifest.files}
