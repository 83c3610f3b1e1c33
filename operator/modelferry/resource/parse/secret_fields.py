"""References to Secrets."""

from __future__ import annotations

from modelferry.resource.secret import SecretReference
from modelferry.resource.spec_fields import Fields


def parse_auth(parent: Fields, key: str = "auth") -> SecretReference | None:
    """``KEY.secretRef.name`` below `parent`; None if there is no `key`."""
    if not parent.has(key):
        return None
    fields = parent.map(key)
    found = parse_secret_reference(fields)
    fields.reject_unknown()
    return found


def parse_secret_reference(parent: Fields) -> SecretReference:
    """``secretRef.name`` below `parent`."""
    fields = parent.map("secretRef")
    name = fields.name("name", "Secret")
    fields.reject_unknown()
    return SecretReference(name)
