"""A checksum list into files."""

from __future__ import annotations

import pytest

from modelferry.errors import InvalidSpec
from modelferry.manifest import Digest
from modelferry.resource.source import HTTPFile
from modelferry.sources.checksum_list import decoded, files_of

URL = "https://h.example/models/chattts/SHA256SUMS?sig=x"
SHA, MD5 = "0" * 64, "a" * 32
SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"


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
        (f"{SHA}  a\n{SHA[:-1]}  b\n", "line 2 has a digest of 63 digits; sha256 and"),
        ("<html>\n", "line 1 is not one"),
        (f"{'0' * 40}  a\n", "line 1 has a digest of SHA-1; sha256 and md5 are read"),
        (f"{'0' * 128}  a\n", "line 1 has a digest of SHA-512; "),
        (f"SHA512 (a) = {'0' * 128}\n", "line 1 has a digest of SHA512; "),
        (f"SHA256 (a) = {MD5}\n", "line 1 has 32 digits; sha256 has 64"),
        (f"SHA256  {SHA}  C:\\models\\a\n", "line 1 is not one of sha256sum"),
        (
            f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{SHA}  a\n-----BEGIN PGP SIGNATURE-----\n\nx",
            "cut off",
        ),
        (f"{SHA}  ../../etc/passwd\n", "line 1: path '../../etc/passwd' has a '..' segment"),
        (f"{SHA}  /etc/passwd\n", "is absolute"),
        (f"\\{SHA}  a\\nb\n", "line 1 has an escaped name"),
        (f"{SHA}  a\n{SHA}  ./a\n", "'a' is listed twice"),
        ("".join(f"{SHA}  {n}\n" for n in range(2001)), "lists 2001 files; 2000 is the maximum"),
    ],
)
def test_a_wrong_list_is_told_by_its_line(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec) as wrong:
        files_of(text, URL)
    assert words in wrong.value.message
    assert "sig=x" not in wrong.value.message


#: One list, as the tools write it.
WRITTEN = {
    "BSD": f"SHA256 (a b.bin) = {SHA}\nMD5 (c (1).bin) = {MD5}\n",
    "openssl": f"SHA256(a b.bin)= {SHA}\nMD5(c (1).bin)= {MD5}\n",
    "openssl 3": f"SHA2-256(a b.bin)= {SHA}\nMD5(c (1).bin)= {MD5}\n",
    "tab": f"{SHA}\ta b.bin\n{MD5}\tc (1).bin\n",
    "one space": f"{SHA} a b.bin\n{MD5} c (1).bin\n",
    "comments": f"# made by hand\n;\n{SHA}  a b.bin\r\n\r\n# the rest\r\n{MD5}  c (1).bin",
    "signed": (
        f"{SIGNED}{SHA}  a b.bin\n{MD5}  c (1).bin\n"
        "-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCgAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
    ),
}


@pytest.mark.parametrize("tool", WRITTEN)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_of_another_tool_is_read(tool: str, encoding: str) -> None:
    """packer#5168, PowerShell#26139: BSD and openssl lines, byte order marks, comments and signatures."""
    files = files_of(decoded(WRITTEN[tool].encode(encoding)), URL)
    assert [(file.path, file.digest) for file in files] == [
        ("a b.bin", Digest("sha256", SHA)),
        ("c (1).bin", Digest("md5", MD5)),
    ]


def test_the_list_itself_is_not_one_of_its_files() -> None:
    """Sigil#52: on its second run, the command that writes the list finds the list."""
    text = f"{SHA}  SHA256SUMS\n{SHA}  a\n{SHA}  sub/SHA256SUMS\n"
    assert [file.path for file in files_of(text, URL)] == ["a", "sub/SHA256SUMS"]
    with pytest.raises(InvalidSpec, match="lists no file"):
        files_of(f"{SHA}  ./SHA256SUMS\n", URL)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("sv=2022-11-02&sr=c&sp=rl&sig=a%2Bb%3D", True),
        ("sv=2022-11-02&sr=d&sdd=1&sp=rl&sig=a%2Bb%3D", True),
        ("sv=2022-11-02&ss=b&srt=co&sp=rl&sig=a%2Bb%3D", True),
        ("sv=2022-11-02&sr=b&sp=r&sig=a%2Bb%3D", False),
        ("X-Amz-Signature=ab", False),
        ("sig=x", False),
        ("", False),
    ],
)
def test_a_permission_for_the_whole_container_is_kept_for_the_files(query: str, kept: bool) -> None:
    """azure-storage-net#691: a SAS on the list's URL is lost for what is beside it."""
    (file,) = files_of(f"{SHA}  sub/a b\n", f"https://acc.blob.core.windows.net/models/SHA256SUMS?{query}")
    assert file.url == "https://acc.blob.core.windows.net/models/sub/a%20b" + (f"?{query}" if kept else "")
