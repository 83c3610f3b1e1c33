"""``spec.source.s3`` and ``spec.source.oci``."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from modelferry.resource.names import DNS_SUBDOMAIN
from modelferry.resource.object_stores import ARCHIVES, BUCKET, REGION, STYLES, OCISource, S3Source
from modelferry.resource.parse.source_fields.pattern_fields import parse_patterns
from modelferry.resource.spec_fields import Fields
from modelferry.values.urls import url_error

#: The limit of an object key in bytes (S3 User Guide), and so of a prefix.
MAX_KEY_LENGTH = 1024


def parse_s3(fields: Fields) -> S3Source:
    """The source; errors are added to `fields`."""
    bucket = parse_bucket(fields)
    prefix = fields.text("prefix")
    if prefix.startswith("/") or len(prefix.encode()) > MAX_KEY_LENGTH:
        fields.add_error("prefix", f"must be at most {MAX_KEY_LENGTH} bytes and not begin with a slash, as keys do not")
    region = parse_region(fields)
    endpoint = parse_endpoint(fields)
    style = fields.text("style")
    if style not in ("", *STYLES):
        fields.add_error("style", f"must be {' or '.join(STYLES)}, not {style!r}")
    account = fields.text("serviceAccountName")
    if account and not DNS_SUBDOMAIN.fullmatch(account):
        fields.add_error("serviceAccountName", "must be a service account's name")
    include, exclude = parse_patterns(fields, "include"), parse_patterns(fields, "exclude")
    fields.reject_unknown()
    return S3Source(bucket, prefix, region, endpoint, style, include, exclude, account)


def parse_bucket(fields: Fields) -> str:
    """The bucket's name."""
    bucket = fields.text("bucket", required=True)
    if bucket and (not BUCKET.fullmatch(bucket) or ".." in bucket):
        fields.add_error("bucket", "must be 3 to 63 of a-z, 0-9, '.' and '-', and begin and end with a letter or digit")
    return bucket


def parse_region(fields: Fields) -> str:
    """The region, with its default."""
    region = fields.text("region", "us-east-1")
    if not REGION.fullmatch(region):
        fields.add_error("region", "must be a region's name, such as eu-west-1")
    return region


def parse_endpoint(fields: Fields) -> str:
    """The store's URL, without a slash at its end; empty if there is none or it is invalid."""
    endpoint = fields.text("endpoint").rstrip("/")
    error = url_error(endpoint) if endpoint else None
    if endpoint and not error and (urlsplit(endpoint).query or urlsplit(endpoint).fragment):
        error = "has a query or a fragment; give the address of the store alone"
    if error:
        fields.add_error("endpoint", error)
    return "" if error else endpoint


def parse_oci(fields: Fields) -> OCISource | None:
    """The source; None, with an error, if the reference is invalid."""
    reference = fields.text("reference", required=True)
    archives = fields.text("archives", ARCHIVES[0])
    if archives not in ARCHIVES:
        fields.add_error("archives", f"must be {' or '.join(ARCHIVES)}, not {archives[:60]!r}")
    fields.reject_unknown()
    if not reference:
        return None
    try:
        return replace(OCISource.parse(reference), keep_archives=archives == "keep")
    except ValueError as error:
        fields.add_error("reference", str(error))
        return None
