"""The manifest: what it refuses, what its revision depends on, and its bytes."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from modelferry.manifest import (
    CHUNK_SIZE,
    Digest,
    FileEntry,
    Location,
    Manifest,
    chunk_count,
    chunks_of,
    decode,
    encode,
)
from modelferry.manifest.entries import pin

SHA = Digest("sha256", "a" * 64)


def entry(path: str, **changes: Any) -> FileEntry:
    return replace(FileEntry(path, 10, SHA, (Location("https://h.example/x"),)), **changes)


def test_chunks_cover_a_file_without_gap_or_overlap() -> None:
    size = 2 * CHUNK_SIZE + 1
    chunks = list(chunks_of(3, size))
    assert [(c.file, c.index, c.start, c.end) for c in chunks] == [
        (3, 0, 0, CHUNK_SIZE),
        (3, 1, CHUNK_SIZE, 2 * CHUNK_SIZE),
        (3, 2, 2 * CHUNK_SIZE, size),
    ]
    assert sum(c.size for c in chunks) == size


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (CHUNK_SIZE, 1), (CHUNK_SIZE + 1, 2)])
def test_a_file_has_as_many_chunks_as_it_fills(size: int, count: int) -> None:
    assert chunk_count(size) == len(list(chunks_of(0, size))) == count


@pytest.mark.parametrize(
    "text", ["sha1:" + "a" * 40, "git-sha1:" + "a" * 64, "sha256:" + "A" * 64, "md5:" + "a" * 31, "a" * 64, ""]
)
def test_a_digest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not one of|lower-case hexadecimal"):
        Digest.parse(text)


def test_files_are_sorted_and_a_file_that_is_also_a_directory_is_refused() -> None:
    assert [file.path for file in pin((entry("b"), entry("a/c"))).files] == ["a/c", "b"]
    with pytest.raises(ValueError, match="'a' is a file and a directory at once"):
        pin((entry("a"), entry("a/c")))
    with pytest.raises(ValueError, match="each path once"):
        pin((entry("a"), entry("a")))
    with pytest.raises(ValueError, match="at least one file"):
        pin(())


def test_the_revision_depends_on_what_the_files_are_and_not_on_where_they_come_from() -> None:
    one = pin((entry("a"), entry("b")))
    assert pin((entry("b"), entry("a", locations=(Location("https://other.example/y"),)))).revision == one.revision
    for changed in (entry("a", size=11), entry("a", digest=Digest("sha256", "b" * 64)), entry("c")):
        assert pin((changed, entry("b"))).revision != one.revision


def test_without_a_digest_a_changed_validator_makes_another_revision() -> None:
    old, new = (pin((entry("a", digest=None, validator=tag),)) for tag in ('"1"', '"2"'))
    assert old.revision != new.revision
    assert old.digest != new.digest


@pytest.mark.parametrize("revision", ["", "-a", "a" * 64, "a/b", "a b"])
def test_a_revision_that_is_no_label_value_is_refused(revision: str) -> None:
    with pytest.raises(ValueError, match="label's value"):
        Manifest(revision, (entry("a"),))


def test_a_manifest_survives_its_encoding() -> None:
    manifest = pin(
        (
            entry(
                "ü/ß.bin", locations=(Location("https://h.example/a?s=1", "backup"), Location("https://h.example/b"))
            ),
            entry("m.bin", digest=Digest("md5", "0" * 32)),
            entry("n.bin", size=0, digest=None, validator='"etag"'),
        )
    )
    assert decode(encode(manifest)) == manifest


def test_equal_manifests_are_equal_bytes() -> None:
    assert encode(pin((entry("a"), entry("b")))) == encode(pin((entry("b"), entry("a"))))


def _body(**changes: Any) -> bytes:
    body: dict[str, Any] = json.loads(gzip.decompress(encode(pin((entry("a"),)))))
    return gzip.compress(json.dumps(body | changes).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        encode(pin((entry("a"),)))[:-9],
        gzip.compress(b"not JSON"),
        gzip.compress(b"[]"),
        gzip.compress(b"{}"),
        _body(version=2),
        _body(files=[]),
        _body(files=[{"path": "a"}]),
        _body(files=7),
        _body(
            files=[{"path": "../a", "size": 1, "digest": None, "validator": "", "places": [["source", "https://h/"]]}]
        ),
        _body(revision="not a label"),
    ],
)
def test_damaged_bytes_are_a_value_error_and_never_a_manifest(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(data)


def test_every_flipped_bit_is_noticed() -> None:
    data = encode(pin((entry("a"),)))
    for position in range(10, len(data)):  # behind gzip's header, whose time and system are nobody's business
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
