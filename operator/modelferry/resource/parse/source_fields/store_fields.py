"""``spec.source.s3`` and ``spec.source.oci``."""

from __future__ import annotations

from urllib.parse import urlsplit

from modelferry.resource.fields import Fields
from modelferry.resource.names import DNS_SUBDOMAIN
from modelferry.resource.object_stores import BUCKET, REGION, STYLES, OCISource, S3Source
from modelferry.resource.parse.source_fields.pattern_fields import patterns
from modelferry.values.urls import url_error

#: Bytes of an object's key (S3 User Guide), and so of a prefix.
LONGEST_KEY = 1024


def s3(fields: Fields) -> S3Source:
    """Its fields; what is wrong is among the faults."""
    bucket = bucket_name(fields)
    prefix = fields.text("prefix")
    if prefix.startswith("/") or len(prefix.encode()) > LONGEST_KEY:
        fields.error("prefix", f"must be at most {LONGEST_KEY} bytes and not begin with a slash, as keys do not")
    region = region_name(fields)
    endpoint = fields.text("endpoint").rstrip("/")
    if endpoint and (error := url_error(endpoint) or _path_fault(endpoint)):
        fields.error("endpoint", error)
        endpoint = ""
    style = fields.text("style")
    if style not in ("", *STYLES):
        fields.error("style", f"must be {' or '.join(STYLES)}, not {style!r}")
    account = fields.text("serviceAccountName")
    if account and not DNS_SUBDOMAIN.fullmatch(account):
        fields.error("serviceAccountName", "must be a service account's name")
    include, exclude = patterns(fields, "include"), patterns(fields, "exclude")
    fields.done()
    return S3Source(bucket, prefix, region, endpoint, style, include, exclude, account)


def bucket_name(fields: Fields) -> str:
    """``bucket``."""
    bucket = fields.text("bucket", required=True)
    if bucket and (not BUCKET.fullmatch(bucket) or ".." in bucket):
        fields.error("bucket", "must be 3 to 63 of a-z, 0-9, '.' and '-', and begin and end with a letter or digit")
    return bucket


def region_name(fields: Fields) -> str:
    """``region``, with its default."""
    region = fields.text("region", "us-east-1")
    if not REGION.fullmatch(region):
        fields.error("region", "must be a region's name, such as eu-west-1")
    return region


def oci(fields: Fields) -> OCISource | None:
    """Its fields; None, and the fault, where the reference is none."""
    reference = fields.text("reference", required=True)
    fields.done()
    if not reference:
        return None
    try:
        return OCISource.parse(reference)
    except ValueError as error:
        fields.error("reference", str(error))
        return None


def _path_fault(endpoint: str) -> str | None:
    parts = urlsplit(endpoint)
    return "must be a scheme and a host alone; the bucket has a field of its own" if parts.path or parts.query else None
