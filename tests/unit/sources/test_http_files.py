"""What the answer to a request for a file's first byte tells of the file."""

from __future__ import annotations

import pytest

from modelferry.errors import ServerMisbehaves
from modelferry.sources.http_files import Facts, facts_of
from modelferry.sources.source_client import Head

URL = "https://h.example/a.bin?signature=secret"


def head(status: int, **headers: str) -> Head:
    return Head(status, {name.replace("_", "-"): value for name, value in headers.items()}, URL)


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (head(206, content_range="bytes 0-0/1048576"), 1048576),
        (head(206, content_range="bytes 0-0/*"), None),
        (head(200, content_length="1048576"), 1048576),
        (head(200, content_length="0"), 0),
        (head(200), None),
        (head(200, content_length="-1"), None),
        (head(200, content_range="bytes 0-0/1048576", content_length="1"), 1048576),
        (head(200, content_length="5, 5"), 5),  # nodejs/node#6517
        (head(200, content_length="5, 6"), None),
        (head(206, content_range="Bytes 0-0/5"), 5),
        (head(416, content_range="bytes */0"), 0),
        (head(206, content_range="bytes 0--1/0"), 0),  # Azure/Azurite#1682
        (head(206, content_range="bytes 0-0/0"), 0),
        (head(200, content_length="5", content_encoding="identity"), 5),
        (head(206, content_range="bytes 0-0/5", content_encoding="aws-chunked"), 5),
    ],
)
def test_the_size_is_learnt_from_what_the_server_is_sure_of(answer: Head, size: int | None) -> None:
    assert facts_of(answer, "a.bin").size == size


@pytest.mark.parametrize(
    ("etag", "validator"),
    [
        ('"abc-1"', '"abc-1"'),
        ('W/"abc"', 'W/"abc"'),
        ("abc", "ETag without quotes: abc"),
        ('"a"b"', ""),
        ('"a b"', ""),
        (f'"{"x" * 257}"', ""),
        ('"', ""),
    ],
)
def test_an_etag_in_any_form_tells_versions_apart(etag: str, validator: str) -> None:
    assert facts_of(head(200, content_length="5", etag=etag), "a.bin") == Facts(5, validator)


OLD, NOW = "Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:00:10 GMT"


@pytest.mark.parametrize(
    ("fields", "validator"),
    [
        ({"last_modified": OLD, "date": NOW}, f"Last-Modified: {OLD}"),
        ({"last_modified": OLD, "date": NOW, "etag": '"a"'}, '"a"'),
        ({"last_modified": OLD, "date": NOW, "etag": "a"}, "ETag without quotes: a"),
        # As every response of a server that takes the time of the request.
        ({"last_modified": NOW, "date": NOW}, ""),
        ({"last_modified": OLD}, ""),
        ({}, ""),
    ],
)
def test_a_last_modified_tells_versions_apart_where_there_is_no_etag(fields: dict[str, str], validator: str) -> None:
    """BiocFileCache#5: a file that was replaced by another of the same size was not noticed."""
    assert facts_of(head(200, content_length="5", **fields), "a.bin") == Facts(5, validator)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (head(206), "Content-Range is missing"),
        (head(206, content_range="bytes 0-0/ten"), "Content-Range is missing or unreadable"),
        (head(206, content_range="items 0-0/10"), "Content-Range is missing or unreadable"),
        (head(206, content_range="bytes 0--1/10"), "Content-Range is missing or unreadable"),
        (head(206, content_range="bytes 5-5/10"), "not about the first byte"),
        (head(206, content_range="bytes */10"), "not about the first byte"),
        (head(416, content_range="bytes */10"), "not about the first byte"),
        (head(416), "Content-Range is missing"),
        (head(200, content_length="5", content_encoding="gzip"), "in gzip .* declare the digest of the stored bytes"),
        (head(204), "answered by 200 or 206"),
        (head(304), "answered by 200 or 206"),
        (head(299), "299: a GET"),
    ],
)
def test_an_answer_that_cannot_be_trusted_is_refused_with_its_reason(answer: Head, why: str) -> None:
    with pytest.raises(ServerMisbehaves, match=why) as caught:
        facts_of(answer, "a.bin")
    assert caught.value.file == "a.bin"
    assert "https://h.example/a.bin" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "aws-chunked,gzip", "unheard-of"])
def test_a_file_that_is_stored_in_a_coding_has_the_size_of_the_stored_bytes(coding: str) -> None:
    """bazelbuild/bazel#11686: the declared digest is of the bytes as they are stored."""
    answer = head(206, content_range="bytes 0-0/77", content_encoding=coding)
    assert facts_of(answer, "a.bin", pinned=True).size == 77
    with pytest.raises(ServerMisbehaves):
        facts_of(answer, "a.bin")
