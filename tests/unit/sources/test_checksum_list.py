"""A checksum list into files."""

from __future__ import annotations

import pytest

from modelferry.errors import InvalidSpec
from modelferry.manifest import Digest
from modelferry.resource.source import HTTPFile
from modelferry.sources.checksum_list import files_of

URL = "https://h.example/models/chattts/SHA256SUMS?sig=x"
SHA, MD5 = "0" * 64, "a" * 32


def test_each_line_is_a_file_beside_the_list() -> None:
    text = f"{SHA}  asset/gpt 1.safetensors\n{MD5.upper()} *./config.yaml\r\n\n"
    assert files_of(text, URL) == (
        HTTPFile(
            "asset/gpt 1.safetensors",
            "https://h.example/models/chattts/asset/gpt%201.safetensors",
            Digest("sha256", SHA),
        ),
        HTTPFile("config.yaml", "https://h.example/models/chattts/config.yaml", Digest("md5", MD5)),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no file"),
        (f"{SHA}  a\n{SHA[:-1]}  b\n", "line 2 is not one of sha256sum"),
        ("<html>\n", "line 1 is not one"),
        (f"{'0' * 40}  a\n", "line 1 is not one of sha256sum or md5sum"),
        (f"{SHA}  ../../etc/passwd\n", "line 1: path '../../etc/passwd' has a '..' segment"),
        (f"{SHA}  /etc/passwd\n", "is absolute"),
        (f"\\{SHA}  a\\nb\n", "line 1 is not one"),
        (f"{SHA}  a\n{SHA}  ./a\n", "'a' is listed twice"),
        ("".join(f"{SHA}  {n}\n" for n in range(2001)), "lists 2001 files; 2000 is the maximum"),
    ],
)
def test_a_wrong_list_is_told_by_its_line(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec) as wrong:
        files_of(text, URL)
    assert words in wrong.value.message
    assert "sig=x" not in wrong.value.message
