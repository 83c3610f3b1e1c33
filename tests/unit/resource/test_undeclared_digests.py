"""What is said of files whose source declares no digest."""

from __future__ import annotations

from dataclasses import replace

from modelferry.manifest import Digest, FileEntry, Location
from modelferry.manifest.entries import content_addressed
from modelferry.resource.object_stores import S3Source
from modelferry.resource.source import HTTPSource, ModelScopeSource
from modelferry.resource.undeclared_digests import completeness, not_verified, remedy

HTTP = HTTPSource()
DECLARED = FileEntry("d.bin", 10, Digest("sha256", "d" * 64), (Location("https://h/d.bin"),))
PLAIN = FileEntry("a.bin", 10, None, (Location("https://h/a.bin"),), validator='W/"1"')


def test_only_files_with_a_digest_are_called_verified() -> None:
    assert completeness([]) == "complete and verified"
    assert completeness(["a.bin"]) == "complete, not verified: no digest declared for a.bin"
    assert not_verified(["a", "b"]) == "not verified: no digest declared for a and 1 other file"
    assert not_verified(["a", "b", "c"]) == "not verified: no digest declared for a and 2 other files"


def test_the_remedy_is_the_line_to_add() -> None:
    manifest = content_addressed((DECLARED, PLAIN))
    assert remedy(HTTP, content_addressed((DECLARED,))) == ""
    assert "`sha256: <the 64 digits that its publisher states>`" in remedy(HTTP, manifest)
    computed = {"a.bin": f"sha256:{'a' * 64}", "d.bin": f"sha256:{'d' * 64}"}
    said = remedy(HTTP, manifest, computed)
    assert said.startswith("if its publisher states the same, add to its entry in spec.source.http.files: ")
    assert said.endswith(f"`sha256: {'a' * 64}` for a.bin")


def test_a_file_that_can_be_replaced_unnoticed_is_named() -> None:
    replaceable = replace(PLAIN, path="b.bin", validator="")
    said = remedy(HTTP, content_addressed((PLAIN, replaceable)))
    assert "nothing shows when b.bin is replaced at the source" in said
    assert "replaced" not in remedy(HTTP, content_addressed((PLAIN, replace(replaceable, version="a" * 40))))


def test_other_sources_have_other_remedies() -> None:
    manifest = content_addressed((PLAIN,))
    assert "--checksum-algorithm SHA256" in remedy(S3Source("b", ""), manifest)
    assert "list them in spec.source.http.files" in remedy(ModelScopeSource("a/b"), manifest)
