"""Asking for many files at once, and telling all that went wrong in one error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from modelferry.errors import SourceError, Stalled, UserError
from modelferry.manifest import FileEntry


async def bounded_gather(asked: Iterable[Coroutine[Any, Any, FileEntry]]) -> tuple[FileEntry, ...]:
    """The results of all of `asked`. Where some fail, the first one's error, with the number of the others."""
    entries: list[FileEntry] = []
    faults: list[Stalled] = []
    for result in await asyncio.gather(*asked, return_exceptions=True):
        match result:
            case FileEntry():
                entries.append(result)
            case UserError() | SourceError():
                faults.append(result)
            case _:
                raise result
    if faults:
        raise _one(faults)
    return tuple(entries)


def _one(faults: list[Stalled]) -> Stalled:
    first, others = faults[0], len(faults) - 1
    if not others:
        return first
    files = "1 other file" if others == 1 else f"{others} other files"
    return type(first)(f"{first.message} ({files} failed too)", reason=first.reason, file=first.file)
