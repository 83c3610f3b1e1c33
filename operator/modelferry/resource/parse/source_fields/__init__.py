"""``spec.source``: exactly one kind. A module for each reads its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelferry.resource.fields import Fields
from modelferry.resource.parse.source_fields.http_fields import http
from modelferry.resource.parse.source_fields.hub_fields import hugging_face, model_scope
from modelferry.resource.parse.source_fields.store_fields import oci, s3
from modelferry.resource.source import Source

#: The field of each kind below ``spec.source``, and what reads it.
KINDS: Mapping[str, Callable[[Fields], Source | None]] = {
    "http": http,
    "huggingFace": hugging_face,
    "modelScope": model_scope,
    "s3": s3,
    "oci": oci,
}


def source(fields: Fields) -> Source | None:
    """Exactly one kind; None where it is none or several, or none that can be read."""
    found = [KINDS[kind](fields.map(kind)) for kind in KINDS if fields.has(kind)]
    fields.done()
    if len(found) != 1:
        fields.errors.add(fields.path, f"exactly one source is required: set one of {', '.join(KINDS)}")
        return None
    return found[0]
