"""Signatures, by the examples of the Amazon S3 API Reference ("Signature Calculations", "Using Query Parameters")."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from modelferry.http.auth.sigv4 import MAX_EXPIRY, Keys, presign, sign

KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
THEN = datetime(2013, 5, 24)
BUCKET = "https://examplebucket.s3.amazonaws.com"


def signature(url: str, *fields: tuple[str, str], keys: Keys = KEYS, method: str = "GET") -> str:
    shown = dict(sign(url, keys, region="us-east-1", now=THEN, method=method, fields=fields))
    return shown["Authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("target", "fields", "expected"),
    [
        (
            "/test.txt",
            (("Range", "bytes=0-9"),),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        ("/?lifecycle", (), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", (), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
    ids=["GET Object", "GET Bucket Lifecycle", "GET Bucket (List Objects)"],
)
def test_the_examples_of_the_reference(target: str, fields: tuple[tuple[str, str], ...], expected: str) -> None:
    assert signature(BUCKET + target, *fields) == expected


def test_the_presigned_example_of_the_reference() -> None:
    assert presign(f"{BUCKET}/test.txt", KEYS, region="us-east-1", now=THEN, expires=86400) == (
        f"{BUCKET}/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_a_session_token_is_signed_and_travels_along() -> None:
    keys = Keys(KEYS.id, KEYS.secret, "session/token+=")
    fields = dict(sign(f"{BUCKET}/a", keys, region="us-east-1", now=THEN))
    assert fields["x-amz-security-token"] == "session/token+="
    assert "x-amz-security-token," in fields["Authorization"]
    query = parse_qs(urlsplit(presign(f"{BUCKET}/a", keys, region="us-east-1", now=THEN, expires=1)).query)
    assert query["X-Amz-Security-Token"] == ["session/token+="]


def test_a_presigned_url_keeps_its_version() -> None:
    url = presign(f"{BUCKET}/a?versionId=v%2B1", KEYS, region="us-east-1", now=THEN, expires=60)
    assert parse_qs(urlsplit(url).query)["versionId"] == ["v+1"]


@pytest.mark.parametrize("expires", [0, MAX_EXPIRY + 1])
def test_a_presigned_url_lives_a_second_to_seven_days(expires: int) -> None:
    with pytest.raises(ValueError, match="1 to 604800 seconds"):
        presign(f"{BUCKET}/a", KEYS, region="us-east-1", now=THEN, expires=expires)


def test_one_key_has_one_signature_however_its_url_is_spelt() -> None:
    assert signature(f"{BUCKET}/a%2Bb") == signature(f"{BUCKET}/a+b")
    assert signature(f"{BUCKET}/a%20b") != signature(f"{BUCKET}/a+b")


def test_the_method_the_port_and_each_field_count() -> None:
    plain = signature(f"{BUCKET}/a")
    assert signature(f"{BUCKET}:443/a") == plain
    others = [
        signature(f"{BUCKET}/a", method="HEAD"),
        signature(f"{BUCKET}:9000/a"),
        signature(f"{BUCKET}/a", ("x-amz-checksum-mode", "ENABLED")),
        signature(f"{BUCKET}/b"),
    ]
    assert len({plain, *others}) == 5


def test_a_secret_is_not_in_the_keys_repr() -> None:
    assert "wJalr" not in repr(KEYS)
    assert "session" not in repr(Keys("a", "b", "session"))
