"""Resolves many files at once, and reports all that failed in one error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from modelferry.errors import SourceError, Stalled, UserError
from modelferry.manifest import FileEntry


async def bounded_gather(resolving: Iterable[Coroutine[Any, Any, FileEntry]]) -> tuple[FileEntry, ...]:
    """The results of all of `resolving`, whose requests `SourceClient` bounds. Where some fail, raises the first one's
    error, with the number of the others."""
    entries: list[FileEntry] = []
    errors: list[Stalled] = []
    for result in await asyncio.gather(*resolving, return_exceptions=True):
        match result:
            case FileEntry():
                entries.append(result)
            case UserError() | SourceError():
                errors.append(result)
            case _:
                raise result
    if errors:
        raise _combined(errors)
    return tuple(entries)


def _combined(errors: list[Stalled]) -> Stalled:
    first, others = errors[0], len(errors) - 1
    if not others:
        return first
    files = "1 other file" if others == 1 else f"{others} other files"
    return type(first)(f"{first.message} ({files} failed too)", reason=first.reason, file=first.file)
