"""Pulls from a bucket or a registry, with a Secret as the kubelet mounts it."""

from __future__ import annotations

from pathlib import Path

from modelferry import sources
from modelferry.agent.secrets import Secrets
from modelferry.agent.ways import ways_of
from modelferry.manifest import Manifest
from modelferry.manifest.model import SOURCE
from modelferry.net.ways import Ways
from modelferry.resource.secret import SecretReference
from modelferry.resource.spec import Spec
from modelferry.resource.stores import OCISource, S3Source
from network.world import World

#: The name of the one Secret.
NAME = "keys"


def ways(world: World, source: S3Source | OCISource, secret: dict[str, str] | None) -> Ways:
    """How `source` is reached by an artifact whose spec.auth names a Secret with these keys (None: it has no auth)."""
    root = world.directory.parent / "secrets"
    if secret is not None:
        (root / NAME).mkdir(parents=True, exist_ok=True)
        for key, value in secret.items():
            (root / NAME / key).write_text(value)
    spec = Spec(source, auth=None if secret is None else SecretReference(NAME))
    return ways_of(spec, [Path(world.ca_file)], Secrets(root))


async def resolved(world: World, source: S3Source | OCISource, secret: dict[str, str] | None = None) -> Manifest:
    """What the resolve pod makes of it."""
    return await sources.resolve(source, ways(world, source, secret))


async def fetched(
    world: World, source: S3Source | OCISource, manifest: Manifest, secret: dict[str, str] | None = None
) -> dict[str, bytes]:
    """What the fetch pod makes of it: the published files."""
    world.credential = ways(world, source, secret).of(SOURCE).credential
    await world.pull_manifest(manifest)
    return {file.path: world.read(file.path) for file in manifest.files}
