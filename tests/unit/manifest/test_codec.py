"""The manifest as bytes."""

from __future__ import annotations

import gzip
import json
from random import Random
from typing import Any

import pytest

from modelferry.manifest import Digest, FileEntry, Location, Manifest, decode, encode
from modelferry.manifest.entries import content_addressed
from unit.manifest.samples import entry


def test_a_manifest_survives_its_encoding() -> None:
    manifest = content_addressed(
        (
            entry(
                "ü/ß.bin", locations=(Location("https://h.example/a?s=1", "backup"), Location("https://h.example/b"))
            ),
            entry("m.bin", digest=Digest("md5", "0" * 32)),
            entry("n.bin", size=0, digest=None, validator='"etag"'),
            entry("o.bin", size=0, digest=None, version="a" * 40),
        )
    )
    assert decode(encode(manifest)) == manifest


def test_equal_manifests_are_equal_bytes() -> None:
    assert encode(content_addressed((entry("a"), entry("b")))) == encode(content_addressed((entry("b"), entry("a"))))


def _body(**changes: Any) -> bytes:
    body: dict[str, Any] = json.loads(gzip.decompress(encode(content_addressed((entry("a"),)))))
    return gzip.compress(json.dumps(body | changes).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        encode(content_addressed((entry("a"),)))[:-9],
        gzip.compress(b"not JSON"),
        gzip.compress(b"[]"),
        gzip.compress(b"{}"),
        _body(version=99),
        _body(files=[]),
        _body(files=[{"path": "a"}]),
        _body(files=7),
        _body(
            files=[
                {"path": "../a", "size": 1, "digest": None, "validator": "", "locations": [["source", "https://h/"]]}
            ]
        ),
        _body(revision="not a label"),
    ],
)
def test_damaged_bytes_are_a_value_error_and_never_a_manifest(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(data)


def test_a_manifest_of_another_version_is_refused_with_both_versions_and_the_remedy() -> None:
    with pytest.raises(
        ValueError, match=r"has version 1, and this Modelferry reads version 2; resolve the source again"
    ):
        decode(_body(version=1))


def test_every_flipped_bit_is_noticed() -> None:
    data = encode(content_addressed((entry("a"),)))
    for position in range(10, len(data)):  # behind gzip's header, whose time and system do not matter
        with pytest.raises(ValueError, match=r"."):
            decode(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])


def test_a_repository_of_2000_long_paths_fits_into_a_configmap() -> None:
    random = Random(1)

    def file(number: int) -> FileEntry:
        # Random letters do not compress: no names of a real repository are worse, nor as long.
        path = f"{number:04}/{random.randbytes(72).hex()}/{random.randbytes(72).hex()}.bin"
        url = f"https://hub.models.example.com/mirror/organisation/name/resolve/{'a' * 40}/{path}"
        return FileEntry(
            path, random.randrange(1 << 40), Digest("sha256", random.randbytes(32).hex()), (Location(url),)
        )

    manifest = Manifest("a" * 40, tuple(file(number) for number in range(2000)))
    assert decode(encoded := encode(manifest)) == manifest
    assert len(encoded) < 1 << 20
