"""File names of layers that have no title: by their media types, as docs/sources.md lists them. Pure.

Docker Model Runner (github.com/docker/model-runner, pkg/distribution/types), Ollama (server/images.go), KitOps
(pkg/lib/constants/mediatype), CNCF's ModelPack specification (specs-go/v1/mediatype.go).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_DOCKER, _OLLAMA = "application/vnd.docker.ai.", "application/vnd.ollama.image."
_KITOPS, _MODELPACK = "application/vnd.kitops.modelkit.", "application/vnd.cncf.model."


@dataclass(frozen=True, slots=True)
class _Name:
    """``stem`` + ``ending``. ``shards``: several of them are the parts of one file, in the order of the layers."""

    stem: str
    ending: str = ""
    shards: bool = False

    def of(self, number: int, total: int) -> str:
        """The name of layer `number` (from 1) of `total` with this name."""
        if self.shards and total > 1:
            return f"{self.stem}-{number:05}-of-{total:05}{self.ending}"  # as llama.cpp and transformers find them
        return f"{self.stem}{self.ending}" if number == 1 else f"{self.stem}-{number}{self.ending}"


_GGUF, _SAFETENSORS = _Name("model", ".gguf", shards=True), _Name("model", ".safetensors", shards=True)
_ADAPTER, _PROJECTOR, _LICENSE = _Name("adapter", ".gguf"), _Name("mmproj", ".gguf"), _Name("LICENSE")

#: By media type; docs/sources.md has the same table.
NAMES: Mapping[str, _Name] = {
    f"{_DOCKER}gguf.v3": _GGUF,
    f"{_DOCKER}model.file.v1+gguf": _GGUF,
    f"{_DOCKER}gguf.v3.lora": _ADAPTER,
    f"{_DOCKER}gguf.v3.mmproj": _PROJECTOR,
    f"{_DOCKER}mmproj": _PROJECTOR,
    f"{_DOCKER}safetensors": _SAFETENSORS,
    f"{_DOCKER}dduf": _Name("model", ".dduf"),
    f"{_DOCKER}chat.template.jinja": _Name("template", ".jinja"),
    f"{_DOCKER}license": _LICENSE,
    f"{_OLLAMA}model": _GGUF,
    f"{_OLLAMA}adapter": _ADAPTER,
    f"{_OLLAMA}projector": _PROJECTOR,
    f"{_OLLAMA}draft": _Name("draft", ".gguf"),
    f"{_OLLAMA}template": _Name("template"),
    f"{_OLLAMA}system": _Name("system", ".txt"),
    f"{_OLLAMA}params": _Name("params", ".json"),
    f"{_OLLAMA}messages": _Name("messages", ".json"),
    f"{_OLLAMA}license": _LICENSE,
    f"{_MODELPACK}weight.v1.gguf": _GGUF,
    f"{_MODELPACK}weight.v1.safetensors": _SAFETENSORS,
}
#: One tensor of a model: hundreds of layers, which only Ollama's own MLX engine puts together.
TENSOR = f"{_OLLAMA}tensor"
#: Other layers of Docker Model Runner and Ollama, such as ones that later versions add.
_OTHER = re.compile(rf"(?:{re.escape(_DOCKER)}|{re.escape(_OLLAMA)})([a-z0-9][a-z0-9.-]{{0,60}})")

#: An archive by its type: what is in it, and the compression. ORAS's default type says tar for plain files too.
_ARCHIVE = re.compile(
    rf"(?:{re.escape(_KITOPS)}|{re.escape(_MODELPACK)}|{re.escape(_DOCKER)})([a-z0-9.]+?)(?:\.v1)?\.tar(?:\+(\w+))?"
)
_ENDINGS = {"gzip": ".tar.gz", "gzip-fastest": ".tar.gz", "zstd": ".tar.zst"}


def base_type(media_type: object) -> str:
    """A media type without its parameters."""
    return str(media_type).partition(";")[0].strip()


def archive_ending(media_type: str, *, unpack: bool) -> str:
    """The ending of an archive's name; empty if the layer is none. `unpack`: an annotation says that it is one."""
    match = _ARCHIVE.fullmatch(media_type)
    compression = match[2] if match else media_type.rpartition("+")[2]
    return _ENDINGS.get(compression, ".tar") if match or unpack else ""


def names(media_types: Sequence[str]) -> list[str]:
    """The names of the untitled layers with these types, in their order; empty where a type has none."""
    found = [_name(media_type) for media_type in media_types]
    totals, seen = Counter(found), Counter[_Name | None]()
    result = []
    for name in found:
        seen[name] += 1
        result.append(name.of(seen[name], totals[name]) if name else "")
    return result


def _name(media_type: str) -> _Name | None:
    if media_type in NAMES or media_type == TENSOR:
        return NAMES.get(media_type)
    if archive := _ARCHIVE.fullmatch(media_type):
        return _Name(archive[1], archive_ending(media_type, unpack=False))
    other = _OTHER.fullmatch(media_type)
    return _Name(other[1]) if other else None
