"""Generates a model with the files of ChatTTS. The same seed and size give the same bytes on every machine.

The content is an AES-CTR key stream, with a key derived from the seed and the file's path: it does not compress, and is
generated at 4 GB/s.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

GIB = 1 << 30
_BLOCK = 4 << 20
_ZEROS = memoryview(bytes(_BLOCK))
_TENSORS = 4

#: The large files of 2Noise/ChatTTS with their share of the size, in thousandths. The first one is split into two
#: files.
_WEIGHTS = (
    ("asset/gpt/model-00001-of-00002.safetensors", 420),
    ("asset/gpt/model-00002-of-00002.safetensors", 230),
    ("asset/Decoder.safetensors", 110),
    ("asset/DVAE.safetensors", 70),
    ("asset/Vocos.safetensors", 60),
    ("asset/Embed.safetensors", 110),
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file: relative path, size in bytes, digests in hex."""

    path: str
    size: int
    sha256: str
    md5: str


def make_model(root: Path, *, size: int = GIB, seed: int = 1) -> list[ModelFile]:
    """Write a model of at least `size` bytes below `root`; returns its files, sorted by path.

    A model with the same size and seed is not written again.
    """
    stamp = root / ".origin-model.json"
    wanted = {"size": size, "seed": seed, "version": 4}
    if stamp.exists() and (known := json.loads(stamp.read_text()))["wanted"] == wanted:
        return [ModelFile(**file) for file in known["files"]]
    small = _small_files(size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # The cipher and the hashes release the GIL, so the files are generated in parallel.
        files = list(
            pool.map(lambda part: _write(root, part[0], _tensors(part[0], size * part[1] // 1000, seed)), _WEIGHTS)
        )
    files += [_write(root, path, iter([text])) for path, text in small.items()]
    files.sort(key=lambda file: file.path)
    stamp.write_text(json.dumps({"wanted": wanted, "files": [_fields(file) for file in files]}))
    return files


def safetensors_header(path: str, length: int) -> tuple[bytes, int]:
    """The header of a safetensors file of at least `length` bytes, and the size of its tensors.

    The header is the length of the JSON in eight bytes, and the JSON, padded to a multiple of eight.
    """
    row = 768 * 2
    rows = length // (row * _TENSORS) + 1
    tensors = {
        f"{Path(path).stem}.layers.{number}.weight": {
            "dtype": "F16",
            "shape": [rows, 768],
            "data_offsets": [number * rows * row, (number + 1) * rows * row],
        }
        for number in range(_TENSORS)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **tensors}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, _TENSORS * rows * row


def _tensors(path: str, length: int, seed: int) -> Iterator[bytes]:
    header, body = safetensors_header(path, length)
    yield header
    key = hashlib.sha256(f"{seed}:{path}".encode()).digest()
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    for start in range(0, body, _BLOCK):
        yield cipher.update(_ZEROS[: min(_BLOCK, body - start)])


def _write(root: Path, path: str, pieces: Iterator[bytes]) -> ModelFile:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with target.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    return ModelFile(path, size, sha256.hexdigest(), md5.hexdigest())


def _small_files(size: int) -> dict[str, bytes]:
    index = {
        "metadata": {"total_size": size},
        "weight_map": {f"layers.{n}.weight": _WEIGHTS[n % 2][0].rpartition("/")[2] for n in range(8)},
    }
    gpt = {"architectures": ["LlamaModel"], "hidden_size": 768, "num_hidden_layers": 20, "torch_dtype": "float16"}
    return {
        "asset/gpt/config.json": json.dumps(gpt, indent=2).encode() + b"\n",
        "asset/gpt/model.safetensors.index.json": json.dumps(index, indent=2).encode() + b"\n",
        "asset/tokenizer/tokenizer_config.json": b'{"model_max_length": 2048, "tokenizer_class": "BertTokenizer"}\n',
        "asset/tokenizer/special_tokens_map.json": b'{"pad_token": "[PAD]", "sep_token": "[SEP]"}\n',
        "config/decoder.yaml": b"target: ChatTTS.model.dvae.DVAE\nparams: {decoder_config: {idim: 512, n_layer: 12}}\n",
        "config/dvae.yaml": b"target: ChatTTS.model.dvae.DVAE\nparams: {vq_config: {dim: 1024, G: 2, R: 2}}\n",
        "config/gpt.yaml": b"target: ChatTTS.model.gpt.GPT\nparams:\n  num_audio_tokens: 626\n  num_vq: 4\n",
        "config/path.yaml": b"vocos_ckpt_path: asset/Vocos.safetensors\ngpt_ckpt_path: asset/gpt\n",
        "config/vocos.yaml": b"feature_extractor:\n  init_args: {sample_rate: 24000, n_fft: 1024, n_mels: 100}\n",
    }


def _fields(file: ModelFile) -> dict[str, object]:
    return {"path": file.path, "size": file.size, "sha256": file.sha256, "md5": file.md5}
