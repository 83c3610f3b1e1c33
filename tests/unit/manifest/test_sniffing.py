"""What the first bytes of a file plainly are, where its name says something else."""

from __future__ import annotations

import pytest

from modelferry.manifest.sniffing import mistaken_content

OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n".encode()
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"


@pytest.mark.parametrize("path", ["model.safetensors", "config.json", "vocab.txt", "LICENSE", "page.html"])
def test_a_git_lfs_pointer_is_no_file_whatever_its_name(path: str) -> None:
    """onnx/models#317."""
    said = mistaken_content(path, POINTER, len(POINTER))
    assert said.startswith(f"a Git LFS pointer, and not the file that it stands for (sha256: {OID}, size: 12345); give")


def test_a_git_annex_pointer_is_no_file() -> None:
    pointer = b"../.git/annex/objects/x5/9Q/SHA256E-s12--ab.bin/SHA256E-s12--ab.bin"
    assert mistaken_content("a.bin", pointer, len(pointer)).startswith("a git-annex pointer")
    assert not mistaken_content("a.txt", b"/annex/objects/ is where git-annex has its files.", 49)


@pytest.mark.parametrize(
    "path", ["model.safetensors", "model.onnx", "tokenizer.model", "config.json", "vocab.txt", "w"]
)
@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        b"\xef\xbb\xbf \r\n" + PAGE,
        b"<!-- saved -->\n<HTML lang=en>",
        b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
        b"<html>",
    ],
)
def test_a_web_page_is_no_file_unless_its_name_says_so(path: str, page: bytes) -> None:
    """aria2/aria2#1828: a sign-in page with status 200 became the model."""
    assert mistaken_content(path, page, 5000).startswith("a web page, and not the file: the server asks to sign in")
    assert mistaken_content("docs/index.HTML", page, 5000) == ""


def test_the_media_type_makes_markup_a_page_but_not_bytes() -> None:
    assert mistaken_content("a.bin", b"<script>location='/login'</script>", 900, "Text/HTML; charset=utf-8")
    # What PHP sends of any file, if its script does not set a type.
    assert mistaken_content("a.bin", b"\x80\x02}q\x00", 900, "text/html; charset=UTF-8") == ""
    assert mistaken_content("a.md", b"<div align=center>", 900, "text/markdown") == ""


@pytest.mark.parametrize(
    ("content", "size", "media_type"),
    [
        (b'{"error": "Repository not found"}', 33, ""),
        (b'{"error": "', 5000, "application/json"),
        (b'{"title": "', 5000, "application/problem+json; charset=utf-8"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 61, ""),
    ],
)
def test_a_message_of_the_server_is_no_binary_file_but_may_be_a_text(
    content: bytes, size: int, media_type: str
) -> None:
    assert mistaken_content("model.safetensors", content, size, media_type).startswith("a message of the server")
    for path in ("config.json", "vocab.txt", "merges"):
        assert mistaken_content(path, content, size, media_type) == ""


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("model.safetensors", b'\x10\x00\x00\x00\x00\x00\x00\x00{"__metadata__":{}}'),
        ("model.bin", b"{not json"),
        ("model.bin", b""),
        ("a.txt", b"version https://git-lfs.github.com is the first line of a pointer"),
        ("README.md", b"<p align=center>"),
        ("weights.xml", b'<?xml version="1.0"?><net name="a">'),
        ("model.bin", b"<HTMLish"),
    ],
)
def test_what_may_be_meant_is_taken(path: str, content: bytes) -> None:
    assert mistaken_content(path, content, len(content)) == ""
