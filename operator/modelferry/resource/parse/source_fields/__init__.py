"""``spec.source``: exactly one kind. Each kind has a function that reads its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelferry.resource.parse.source_fields.http_fields import parse_http
from modelferry.resource.parse.source_fields.hub_fields import parse_hugging_face, parse_model_scope
from modelferry.resource.parse.source_fields.store_fields import parse_oci, parse_s3
from modelferry.resource.source import Source
from modelferry.resource.spec_fields import Fields

#: The function for each field of ``spec.source``.
KINDS: Mapping[str, Callable[[Fields], Source | None]] = {
    "http": parse_http,
    "huggingFace": parse_hugging_face,
    "modelScope": parse_model_scope,
    "s3": parse_s3,
    "oci": parse_oci,
}


def parse_source(fields: Fields) -> Source | None:
    """The source; None, with an error, unless exactly one kind is set and valid."""
    found = [KINDS[kind](fields.map(kind)) for kind in KINDS if fields.has(kind)]
    fields.reject_unknown()
    if len(found) != 1:
        fields.errors.add(fields.path, f"exactly one source is required: set one of {', '.join(KINDS)}")
        return None
    return found[0]
