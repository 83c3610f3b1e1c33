"""References to Secrets."""

from __future__ import annotations

from modelferry.resource.fields import Fields
from modelferry.resource.secret import SecretReference


def auth(parent: Fields, key: str = "auth") -> SecretReference | None:
    """``auth.secretRef.name`` below `parent`; None where there is no `key`."""
    if not parent.has(key):
        return None
    fields = parent.map(key)
    found = reference(fields)
    fields.done()
    return found


def reference(parent: Fields) -> SecretReference:
    """``secretRef.name`` below `parent`."""
    fields = parent.map("secretRef")
    name = fields.name("name", "Secret")
    fields.done()
    return SecretReference(name)
