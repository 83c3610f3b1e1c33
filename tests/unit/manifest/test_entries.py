"""The manifest: what it refuses, and what its revision depends on."""

from __future__ import annotations

import pytest

from modelferry.manifest import Digest, Location, Manifest
from modelferry.manifest.entries import content_addressed
from unit.manifest.samples import entry


@pytest.mark.parametrize(
    "text", ["sha1:" + "a" * 40, "git-sha1:" + "a" * 64, "sha256:" + "A" * 64, "md5:" + "a" * 31, "a" * 64, ""]
)
def test_a_digest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not one of|lower-case hexadecimal"):
        Digest.parse(text)


def test_files_are_sorted_and_a_file_that_is_also_a_directory_is_refused() -> None:
    assert [file.path for file in content_addressed((entry("b"), entry("a/c"))).files] == ["a/c", "b"]
    with pytest.raises(ValueError, match="'a' is a file and a directory at once"):
        content_addressed((entry("a"), entry("a/c")))
    with pytest.raises(ValueError, match="each path once"):
        content_addressed((entry("a"), entry("a")))
    with pytest.raises(ValueError, match="at least one file"):
        content_addressed(())


def test_the_revision_depends_on_what_the_files_are_and_not_on_where_they_come_from() -> None:
    one = content_addressed((entry("a"), entry("b")))
    assert (
        content_addressed((entry("b"), entry("a", locations=(Location("https://other.example/y"),)))).revision
        == one.revision
    )
    for changed in (entry("a", size=11), entry("a", digest=Digest("sha256", "b" * 64)), entry("c")):
        assert content_addressed((changed, entry("b"))).revision != one.revision


def test_without_a_digest_a_changed_validator_makes_another_revision() -> None:
    old, new = (content_addressed((entry("a", digest=None, validator=tag),)) for tag in ('"1"', '"2"'))
    assert old.revision != new.revision
    assert old.digest != new.digest


def test_a_file_that_nothing_tells_apart_counts_with_its_url_but_not_with_a_signature() -> None:
    def revision(url: str, version: str = "") -> str:
        return content_addressed((entry("a", digest=None, locations=(Location(url),), version=version),)).revision

    assert revision("https://h/v1/a?sig=1") == revision("https://h/v1/a?sig=2")
    assert revision("https://h/v1/a") != revision("https://h/v2/a")
    assert revision("https://h/a?at=1", "a" * 40) != revision("https://h/a?at=2", "b" * 40)


@pytest.mark.parametrize("revision", ["", "-a", "a" * 64, "a/b", "a b"])
def test_a_revision_that_is_no_label_value_is_refused(revision: str) -> None:
    with pytest.raises(ValueError, match="label's value"):
        Manifest(revision, (entry("a"),))
