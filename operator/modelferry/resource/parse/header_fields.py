"""``spec.headers`` and ``spec.mirrors[].headers``."""

from __future__ import annotations

from collections.abc import Collection

from modelferry.resource.header import MAX_HEADERS, Header
from modelferry.resource.parse.secret_fields import parse_secret_key
from modelferry.resource.spec_fields import Fields
from modelferry.values.header_grammar import header_name_error, header_value_error

#: What authenticates its requests without ``auth``, too.
_ALWAYS = "s3, oci and presigned"


def parse_headers(parent: Fields, credential: Collection[str] = ()) -> tuple[Header, ...]:
    """``headers`` below `parent`. `credential`: the header fields, in lower case, that the credential beside them
    sets."""
    found: list[Header] = []
    for path, item in parent.items("headers", MAX_HEADERS):
        fields = Fields(item, path, parent.errors)
        header = _header(fields)
        if header.name.lower() in credential:
            fields.add_error("name", f"{header.name} is set by auth, and by {_ALWAYS} always; remove it from headers")
        if any(header.name.lower() == other.name.lower() for other in found):
            fields.add_error("name", f"{header.name[:64]!r} is listed twice")
        found.append(header)
    return tuple(found)


def _header(fields: Fields) -> Header:
    name = fields.text("name", required=True)
    if name and (error := header_name_error(name)):
        fields.add_error("name", error)
    has_value, has_secret = fields.has("value"), fields.has("secretRef")
    value = fields.text("value")
    secret = parse_secret_key(fields.map("secretRef")) if has_secret else None
    fields.reject_unknown()
    if has_value == has_secret:
        fields.errors.add(fields.path, "give value or secretRef, not both and not none")
    elif has_value and (error := header_value_error(value)):
        fields.add_error("value", error)
    return Header(name, value, secret)
