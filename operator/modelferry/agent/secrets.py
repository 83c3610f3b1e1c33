"""Reads Secrets as the kubelet mounts them: a directory for each, a file for each key. `modelferry pull` reads the same
layout."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelferry.errors import InvalidSpec
from modelferry.http.auth import credentials
from modelferry.http.auth.credentials import Credential

#: Bytes of one key: the API server's limit for an entire Secret.
_MAX_SIZE = 1024 * 1024


def add_secrets_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--secrets``."""
    help_ = "directory with a directory for each Secret that the spec names, and in it a file for each key"
    parser.add_argument("--secrets", type=Path, metavar="DIR", help=help_)


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret that was read. ``field`` is the field that refers to it; ``data`` is its values by key. ``places`` says
    of values that were found elsewhere where that was, by key."""

    name: str
    field: str
    data: Mapping[str, str] = dataclasses.field(repr=False)
    places: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts in its key ``allowedHosts``, to which alone it is sent; empty without that key."""
        return credentials.parse_hosts(self.data.get("allowedHosts", ""))

    def credential(self) -> Credential:
        """Its token, or user and password. Raises InvalidSpec (reason SecretMissing) if it has neither."""
        if token := self.word("token"):
            return credentials.bearer(token)
        if "username" in self.data and "password" in self.data:
            return credentials.basic(*self.login())
        raise self.missing_keys("token, or username and password")

    def word(self, key: str) -> str:
        """The value of `key`, which a header field or a signature carries as it is; empty without that key. Raises
        InvalidSpec if it has characters that neither can carry."""
        value = self.data.get(key, "")
        if error := credentials.word_error(value):
            raise self.invalid(key, error)
        return value

    def login(self) -> tuple[str, str]:
        """The values of ``username`` and ``password``. Raises InvalidSpec if Basic cannot carry them."""
        username, password = self.data["username"], self.data["password"]
        if error := credentials.username_error(username):
            raise self.invalid("username", error)
        if error := credentials.control_error(password):
            raise self.invalid("password", error)
        return username, password

    def invalid(self, key: str, error: str) -> InvalidSpec:
        """The error for a value of `key` that cannot be used. `error`: the end of a sentence, without the value."""
        place = self.places.get(key) or f"key {key!r} of Secret {self.name!r}"
        return InvalidSpec(
            f"{self.field}: {place} {error}; write the value into it again, and nothing else", reason="BadCredentials"
        )

    def missing_keys(self, required: str) -> InvalidSpec:
        """The error for a Secret without the `required` keys."""
        keys = ", ".join(sorted(self.data))
        return InvalidSpec(
            f"{self.field}: Secret {self.name!r} has the keys {keys}; give it {required}", reason="SecretMissing"
        )


class Secrets:
    """The Secrets below `root`. If that is None, there are none."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def read(self, name: str, field: str) -> Secret:
        """Read Secret `name`, to which the field `field` refers. A value loses the byte order mark, the
        white space and the line ends around it, which editors add.

        Raises InvalidSpec (reason SecretMissing) if it does not exist.
        """
        directory = self._root / name if self._root is not None else None
        if directory is None or not directory.is_dir() or not (files := _key_files(directory)):
            at = f" (looked in {directory})" if directory is not None else ""
            raise InvalidSpec(
                f"{field}: there is no Secret {name!r}{at}: create it in the artifact's namespace, or correct the"
                " field; `modelferry pull` reads it from files, --secrets DIR/NAME/KEY, or with"
                " --auth-from-env from the environment",
                reason="SecretMissing",
            )
        return Secret(name, field, {file.name: _value(file, name, field) for file in files})

    def file(self, name: str, key: str) -> Path:
        """The file of a key of Secret `name`, for a library that reads files. `read` checks whether it exists."""
        assert self._root is not None
        return self._root / name / key


def _key_files(directory: Path) -> list[Path]:
    """The kubelet's own entries begin with two dots (``..data``). A key may begin with one, like .dockerconfigjson."""
    return sorted(file for file in directory.iterdir() if not file.name.startswith("..") and file.is_file())


def _value(file: Path, name: str, field: str) -> str:
    where = f"{field}: key {file.name!r} of Secret {name!r}"
    try:
        with file.open("rb") as opened:
            return credentials.without_editor_marks(opened.read(_MAX_SIZE).decode())
    except OSError as error:
        raise InvalidSpec(f"{where}: {error.strerror}; create it again", reason="SecretMissing") from None
    except UnicodeDecodeError:
        raise InvalidSpec(
            f"{where} is not UTF-8 text; write it again as UTF-8, without a byte order mark", reason="SecretMissing"
        ) from None
