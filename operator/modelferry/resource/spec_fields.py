"""Reads untrusted YAML: a mapping that knows its path, and collects every error instead of stopping at the first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modelferry.resource.names import DNS_SUBDOMAIN
from modelferry.values.quantities import duration_text, parse_duration


@dataclass
class FieldErrors:
    """The errors of a document, one sentence for each field: ``spec.transfer.connections: must be 1 to 128, not 0``."""

    messages: list[str] = field(default_factory=list)

    def add(self, path: str, error: str) -> None:
        """Add `error` for the field at `path`."""
        self.messages.append(f"{path}: {error}")


class Fields:
    """One mapping of the document. Each key is taken once; those that remain at `reject_unknown` are unknown fields."""

    def __init__(self, value: Any, path: str, errors: FieldErrors) -> None:
        self.path, self.errors = path, errors
        self._remaining: dict[str, Any] = {}
        if isinstance(value, dict):
            self._remaining = {str(key): item for key, item in value.items() if item is not None}
        elif value is not None:
            errors.add(path, f"must be a mapping, not {_kind(value)}")

    def path_of(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def add_error(self, key: str, error: str) -> None:
        """Add `error` for the field `key`."""
        self.errors.add(self.path_of(key), error)

    def has(self, key: str) -> bool:
        """Whether `key` exists and is not yet taken."""
        return key in self._remaining

    @property
    def remaining_keys(self) -> list[str]:
        """The keys that are not yet taken, sorted."""
        return sorted(self._remaining)

    def take(self, key: str) -> Any:
        """Take the value of `key`, of any type; None if it is missing."""
        return self._remaining.pop(key, None)

    def map(self, key: str) -> Fields:
        """The mapping at `key`; an absent one is empty."""
        return Fields(self.take(key), self.path_of(key), self.errors)

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """The string at `key`."""
        value = self.take(key)
        if value is None:
            if required:
                self.add_error(key, "is required")
            return default
        if not isinstance(value, str):
            self.add_error(key, f"must be a string, not {_kind(value)}")
            return default
        return value

    def name(self, key: str, kind: str) -> str:
        """The name at `key` of an object of `kind` (Secret, say)."""
        name = self.text(key, required=True)
        if name and not DNS_SUBDOMAIN.fullmatch(name):
            self.add_error(key, f"must be a {kind}'s name: at most 253 of a-z, 0-9, '-' and '.', not {name[:60]!r}")
        return name

    def number(self, key: str, default: int | None, low: int, high: int) -> int | None:
        """The whole number at `key`, from `low` to `high`."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.add_error(key, f"must be a whole number, not {_kind(value)}")
        elif not low <= value <= high:
            self.add_error(key, f"must be {low} to {high}, not {value}")
        else:
            return value
        return default

    def duration(self, key: str, default: float, low: float, high: float) -> float:
        """The duration at `key`, in seconds, from `low` to `high`."""
        if not self.has(key):
            return default
        text = self.text(key)
        duration = parse_duration(text)
        if duration is None:
            self.add_error(key, f"must be a duration such as 90s, 5m or 1h30m, not {text[:40]!r}")
        elif not low <= duration <= high:
            self.add_error(key, f"must be {duration_text(low)} to {duration_text(high)}, not {text}")
        else:
            return duration
        return default

    def flag(self, key: str, default: bool) -> bool:
        """The boolean at `key`."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.add_error(key, f"must be true or false, not {_kind(value)}")
            return default
        return value

    def items(self, key: str, max_items: int) -> list[tuple[str, Any]]:
        """The list at `key` as (path, value) pairs, at most `max_items`."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.add_error(key, f"must be a list, not {_kind(value)}")
            return []
        if len(value) > max_items:
            self.add_error(key, f"must have at most {max_items} items, not {len(value)}")
        return [(f"{self.path_of(key)}[{number}]", item) for number, item in enumerate(value[:max_items])]

    def string_map(self, key: str) -> tuple[tuple[str, str], ...]:
        """The string-to-string mapping at `key`, sorted."""
        inner = self.map(key)
        return tuple(sorted((name, inner.text(name)) for name in inner.remaining_keys))

    def reject_unknown(self) -> None:
        """Add an error for every key that was not taken."""
        for key in self._remaining:
            self.add_error(key, "is not a field that this version of Modelferry knows")


def _kind(value: Any) -> str:
    kinds = {bool: "true/false", int: "a number", float: "a number", str: "a string", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), type(value).__name__)
