"""Secrets as the kubelet mounts them: a directory for each, a file for each key. `modelferry pull` reads the same."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelferry.errors import InvalidSpec
from modelferry.http.auth import credentials
from modelferry.http.auth.credentials import Credential

#: Bytes of one key: what the API server takes for a whole Secret.
_LONGEST = 1024 * 1024


def add_secrets(parser: argparse.ArgumentParser) -> None:
    """Declare ``--secrets``."""
    words = "directory with a directory for each Secret that the spec names, and in it a file for each key"
    parser.add_argument("--secrets", type=Path, metavar="DIR", help=words)


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret that was read: its ``data`` by key, and the field ``where`` it is named."""

    name: str
    where: str
    data: Mapping[str, str] = field(repr=False)

    @property
    def hosts(self) -> frozenset[str]:
        """Whom it may be shown to, by its key ``allowedHosts``; empty where it does not say."""
        return credentials.hosts_of(self.data.get("allowedHosts", ""))

    def login(self) -> Credential:
        """Its token, or user and password. Raises InvalidSpec (reason SecretMissing) where it has neither."""
        found = credentials.of_secret(self.data)
        if found is None:
            raise self.lacks("token, or username and password")
        return found

    def lacks(self, wanted: str) -> InvalidSpec:
        """The error of a Secret without the keys that are `wanted`."""
        keys = ", ".join(sorted(self.data))
        return InvalidSpec(
            f"{self.where}: Secret {self.name!r} has the keys {keys}; give it {wanted}", reason="SecretMissing"
        )


class Secrets:
    """The Secrets below `root`; none at all where that is None."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def read(self, name: str, where: str) -> Secret:
        """Secret `name`, which the field `where` refers to, its values without the line end that editors leave.

        Raises InvalidSpec (reason SecretMissing) where there is none.
        """
        directory = self._root / name if self._root is not None else None
        if directory is None or not directory.is_dir() or not (files := _keys(directory)):
            at = f" (looked in {directory})" if directory is not None else ""
            raise InvalidSpec(
                f"{where}: there is no Secret {name!r}{at}: create it in the artifact's namespace, or correct the"
                " field; `modelferry pull` takes it as files, by --secrets DIR/NAME/KEY",
                reason="SecretMissing",
            )
        return Secret(name, where, {file.name: _text(file, where) for file in files})

    def file(self, name: str, key: str) -> Path:
        """Where `key` of Secret `name` stands, for those who must read it themselves; `read` tells whether it does."""
        assert self._root is not None
        return self._root / name / key


def _keys(directory: Path) -> list[Path]:
    """The kubelet's own entries (``..data``) begin with a dot; so does a key like .dockerconfigjson."""
    return sorted(file for file in directory.iterdir() if not file.name.startswith("..") and file.is_file())


def _text(file: Path, where: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_LONGEST).decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "is not text"
        raise InvalidSpec(f"{where}: key {file.name!r} of the Secret: {words}", reason="SecretMissing") from None
