"""References to Secrets."""

from __future__ import annotations

import re

from modelferry.resource.secret import SecretKey, SecretReference
from modelferry.resource.spec_fields import Fields

#: A key of a ConfigMap or a Secret (apimachinery's IsConfigMapKey).
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


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


def parse_secret_key(fields: Fields) -> SecretKey:
    """The mapping `fields`, with ``name`` and ``key``."""
    found = SecretKey(fields.name("name", "Secret"), parse_key(fields))
    fields.reject_unknown()
    return found


def parse_key(fields: Fields, default: str = "") -> str:
    """``key``, of a ConfigMap or a Secret; required without a `default`."""
    if not fields.has("key") and not default:
        fields.add_error("key", "is required")
        return ""
    key = fields.text("key", default)
    if not _KEY.fullmatch(key):
        fields.add_error("key", f"must be a key of it: at most 253 letters, digits, '-', '_' and '.', not {key[:60]!r}")
    return key
