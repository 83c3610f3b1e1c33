"""What a bucket's answers say of its objects, and what its errors become."""

from __future__ import annotations

import base64
import hashlib

import pytest

from modelferry.errors import InvalidSpec
from modelferry.manifest import Digest
from modelferry.resource.object_stores import S3Source
from modelferry.sources.s3_responses import ListedObject, listing_error, object_error, object_facts, parse_page
from modelferry.sources.source_client import Head

SOURCE = S3Source("models", "tts", "us-east-1")
SHA256 = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
TRUE = Digest("sha256", hashlib.sha256(b"x").hexdigest())


def head(status: int = 200, **fields: str) -> Head:
    return Head(status, {name.replace("_", "-"): value for name, value in fields.items()}, "https://h/a")


def listing(inner: str, space: str = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"') -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult{space}>{inner}</ListBucketResult>'.encode()


def error(code: str, more: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>told</Message>{more}</Error>".encode()


@pytest.mark.parametrize("space", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
def test_a_page_is_read_with_or_without_its_namespace(space: str) -> None:
    inner = "<Contents><Key>a%2Bb+c</Key><Size>5</Size></Contents><IsTruncated>false</IsTruncated>"
    page = parse_page(listing(f"<EncodingType>url</EncodingType>{inner}", space))
    assert (page.objects, page.next) == ((ListedObject("a+b c", 5),), "")


def test_keys_are_unquoted_only_where_the_answer_says_that_they_are_quoted() -> None:
    """noobaa-core#4796: the store ignores encoding-type and returns the keys as they are."""
    contents = "<Contents><Key>a+b%20c d.bin</Key><Size>5</Size></Contents>"
    assert parse_page(listing(contents)).objects == (ListedObject("a+b%20c d.bin", 5),)
    assert parse_page(listing(f"<EncodingType/>{contents}")).objects == (ListedObject("a+b%20c d.bin", 5),)


def test_a_page_says_how_the_listing_goes_on() -> None:
    inner = "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</NextContinuationToken>"
    assert parse_page(listing(inner)).next == "t/1="


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b"\xff",
        listing("<Contents><Key>a</Key></Contents>"),
        listing("<Contents><Key>a</Key><Size>-1</Size></Contents>"),
        listing("<Contents><Size>1</Size></Contents>"),
        listing("<IsTruncated>true</IsTruncated>"),
        b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + listing("").partition(b"?>")[2],
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_page(body)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (SHA256, "FULL_OBJECT", TRUE),
        (SHA256, "", None),
        (SHA256, "COMPOSITE", None),
        (f"{SHA256}-3", "FULL_OBJECT", None),
        ("", "FULL_OBJECT", None),
        ("AAAA", "FULL_OBJECT", None),
    ],
)
def test_only_a_checksum_of_the_whole_object_is_its_digest(value: str, kind: str, expected: Digest | None) -> None:
    assert object_facts(head(x_amz_checksum_sha256=value, x_amz_checksum_type=kind), "a").digest == expected


def test_a_store_that_does_not_tell_the_kind_marks_composites_by_their_parts() -> None:
    assert object_facts(head(x_amz_checksum_sha256=SHA256), "a").digest == TRUE
    assert object_facts(head(x_amz_checksum_sha256=f"{SHA256}-2"), "a").digest is None


@pytest.mark.parametrize("tag", ['"900150983cd24fb0d6963f7d28e17f72"', '"900150983cd24fb0d6963f7d28e17f72-2"'])
def test_an_etag_is_a_validator_and_never_an_md5(tag: str) -> None:
    facts = object_facts(head(etag=tag, x_amz_server_side_encryption="AES256"), "a")
    assert (facts.etag, facts.digest) == (tag, None)


def test_a_suspended_version_pins_nothing() -> None:
    assert object_facts(head(x_amz_version_id="null"), "a").version == ""
    assert object_facts(head(x_amz_version_id="v1"), "a").version == "v1"


def test_an_archived_object_is_told_unless_it_is_restored() -> None:
    with pytest.raises(InvalidSpec, match=r"a is archived \(GLACIER\); restore it, or exclude it"):
        object_facts(head(x_amz_storage_class="GLACIER"), "a")
    object_facts(head(x_amz_storage_class="GLACIER", x_amz_restore='ongoing-request="false", expiry-date="…"'), "a")


@pytest.mark.parametrize(
    ("answer", "body", "reason", "said"),
    [
        (head(404), error("NoSuchBucket"), "BucketMissing", "no bucket 'models'"),
        (head(403), error("AccessDenied"), "Denied", "allow s3:ListBucket"),
        (head(403), error("InvalidAccessKeyId"), "BadCredentials", "correct accessKeyID"),
        (head(400), error("ExpiredToken"), "BadCredentials", "and sessionToken"),
        (
            head(403, date="Mon, 01 Jan"),
            error("RequestTimeTooSkewed"),
            "ClockSkew",
            "differ too much; set this machine's clock",
        ),
        (
            head(400),
            error("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
            "WrongRegion",
            "set spec.source.s3.region: eu-west-1",
        ),
        (head(301, x_amz_bucket_region="eu-west-1"), error("PermanentRedirect"), "WrongRegion", "region: eu-west-1"),
        (head(400), error("InvalidBucketName"), "InvalidSpec", "is not a valid bucket name there"),
        (head(400), b"<html>", "ServerMisbehaves", "check endpoint, style and bucket"),
        (head(404), error("NoSuchKey"), "ServerMisbehaves", "told; check endpoint"),
    ],
)
def test_errors_name_the_cause_and_the_way_out(answer: Head, body: bytes, reason: str, said: str) -> None:
    found = listing_error(SOURCE, answer, body)
    assert found is not None
    assert found.reason == reason
    assert said in found.message


@pytest.mark.parametrize("answer", [head(503), head(429), head(500), head(307, location="https://h/")])
def test_what_passes_is_left_to_the_client(answer: Head) -> None:
    assert listing_error(SOURCE, answer, error("SlowDown")) is None


def test_a_head_without_a_body_is_told_by_its_status() -> None:
    denied, missing = object_error(SOURCE, "a", head(403)), object_error(SOURCE, "a", head(404))
    assert denied is not None
    assert "allow s3:GetObject (with a KMS key also kms:Decrypt)" in denied.message
    assert missing is None
