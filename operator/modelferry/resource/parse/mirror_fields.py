"""``spec.mirrors``."""

from __future__ import annotations

import re

from modelferry.manifest.entries import SOURCE
from modelferry.resource.mirror import (
    DEFAULT_EXPIRES,
    DEFAULT_PROBE,
    MAX_EXPIRES,
    MAX_MIRRORS,
    MAX_PRIORITY,
    MAX_PROBE,
    MAX_WEIGHT,
    MIN_PROBE,
    Mirror,
    S3Keys,
    SecretURLs,
)
from modelferry.resource.parse.bandwidth_fields import parse_rate_field
from modelferry.resource.parse.header_fields import parse_headers
from modelferry.resource.parse.secret_fields import parse_auth, parse_secret_reference
from modelferry.resource.parse.source_fields.store_fields import (
    MAX_KEY_LENGTH,
    parse_bucket,
    parse_endpoint,
    parse_region,
)
from modelferry.resource.parse.transfer_fields import parse_proxy, parse_tls
from modelferry.resource.spec_fields import Fields
from modelferry.values.urls import url_error

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


def parse_mirrors(fields: Fields) -> tuple[Mirror, ...]:
    """The mirrors and the source. The source is last unless the list contains it. Empty if the list is empty."""
    found = [
        _mirror(Fields(item, path, fields.errors), number)
        for number, (path, item) in enumerate(fields.items("mirrors", MAX_MIRRORS))
    ]
    seen: set[str] = set()
    for number, mirror in enumerate(found):
        if mirror.name in seen:
            fields.add_error(f"mirrors[{number}].name", f"{mirror.name!r} is listed twice")
        seen.add(mirror.name)
    if found and SOURCE not in seen:
        found.append(Mirror(SOURCE, max(mirror.priority for mirror in found) + 1))
    return tuple(found)


def _mirror(fields: Fields, number: int) -> Mirror:
    name = fields.text("name", required=True)
    if name and not _NAME.fullmatch(name):
        fields.add_error(
            "name", "must be at most 32 characters of a-z, 0-9 and '-', and begin and end with a letter or digit"
        )
    has_url, has_presigned = fields.has("url"), fields.has("presigned")
    url = fields.text("url")
    if name == SOURCE and (has_url or has_presigned or any(map(fields.has, ("auth", "tls", "proxy", "headers")))):
        fields.add_error(
            "name", "'source' stands for spec.source itself: give it a priority, a weight, a probe or a bandwidth alone"
        )
    elif name != SOURCE and has_url == has_presigned:
        fields.errors.add(fields.path, "give url or presigned, not both and not none")
    if has_url:
        if "{path}" not in url:
            fields.add_error("url", "must contain {path}, which stands for each file's path")
        elif error := url_error(url.replace("{path}", "p").replace("{revision}", "r")):
            fields.add_error("url", error)
    priority = fields.number("priority", number, 0, MAX_PRIORITY)
    weight = fields.number("weight", 1, 1, MAX_WEIGHT)
    secret = parse_auth(fields)
    headers = parse_headers(fields, ("authorization",) if secret or has_presigned else ())
    tls = parse_tls(fields.map("tls"), plain=False) if fields.has("tls") else None
    proxy = parse_proxy(fields.map("proxy")) if fields.has("proxy") else None
    limit = parse_rate_field(fields, "bandwidth")
    presigned = _presigned(fields.map("presigned")) if has_presigned else None
    probe = fields.map("probe")
    interval = probe.duration("interval", DEFAULT_PROBE, MIN_PROBE, MAX_PROBE)
    probe.reject_unknown()
    fields.reject_unknown()
    return Mirror(
        name,
        number if priority is None else priority,
        url,
        weight or 1,
        secret.name if secret else "",
        tls,
        presigned,
        interval,
        proxy,
        limit,
        headers,
    )


def _presigned(fields: Fields) -> SecretURLs | S3Keys | None:
    has_urls, has_s3 = fields.has("secretRef"), fields.has("s3")
    urls = parse_secret_reference(fields) if has_urls else None
    s3 = fields.map("s3")
    fields.reject_unknown()
    if has_urls == has_s3:
        fields.errors.add(fields.path, "give secretRef or s3, not both and not none")
    if urls is not None:
        return SecretURLs(urls.name)
    if not has_s3:
        return None
    bucket = parse_bucket(s3)
    secret = parse_secret_reference(s3).name
    region, endpoint, prefix = parse_region(s3), parse_endpoint(s3), s3.text("prefix")
    if len(prefix) > MAX_KEY_LENGTH:
        s3.add_error("prefix", f"must be at most {MAX_KEY_LENGTH} characters, as keys are")
    expires = s3.duration("expires", DEFAULT_EXPIRES, 1.0, MAX_EXPIRES)
    s3.reject_unknown()
    return S3Keys(bucket, secret, region, endpoint, prefix, expires)
