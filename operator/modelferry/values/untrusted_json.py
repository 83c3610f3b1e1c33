"""JSON from a server that may send anything. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_KINDS = {str: "no text", int: "no integer", dict: "no object"}


def parse_json(body: bytes | str) -> Any:
    """The document in `body`. Raises ValueError, also where it is nested deeper than Python can follow."""
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def json_field(item: Any, name: str, kind: type) -> Any:
    """Field `name` of the object `item`, of type `kind`; None if it is missing or null. Raises ValueError where one of
    them is of another type."""
    if not isinstance(item, Mapping):
        raise ValueError("an entry is no object")
    found = item.get(name)
    if found is not None and (not isinstance(found, kind) or isinstance(found, bool)):
        raise ValueError(f"{name} of an entry is {_KINDS[kind]}")
    return found
