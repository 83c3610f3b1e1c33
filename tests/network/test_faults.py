"""Downloads from a misbehaving origin: the content on disk, the requests, and the reported error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelferry.errors import (
    Denied,
    DigestMismatch,
    ModelferryError,
    NotFound,
    PlainHTTPRefused,
    ServerMisbehaves,
    SizeMismatch,
    SourceChanged,
    SourceUnavailable,
    UnexpectedContent,
    UnknownHost,
)
from network.harness import CHUNK, DownloadHarness, Serve, entry
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks")


async def test_a_correct_origin_sends_every_byte_once(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a.bin": data, "b.txt": b"hello", "empty": b""}) as origin:
        files = [entry("a.bin", data, origin.url("a.bin")), entry("sub/b.txt", b"hello", origin.url("b.txt"))]
        result = await harness.pull(*files, entry("sub/empty", b"", origin.url("empty")))
        assert origin.sent() == len(data) + 5
    assert harness.read("a.bin") == data
    assert harness.read("sub/b.txt") == b"hello"
    assert harness.read("sub/empty") == b""
    assert (result.fetched, result.retries) == (len(data) + 5, 0)
    assert harness.progress is not None
    assert (harness.progress.phase, harness.progress.checksum) == ("published", "verified")


async def test_connections_are_reused(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        harness.connections = 2
        await harness.pull(entry("a", data, origin.url("a")))
        assert origin.accepted <= 2
        assert len(origin.entries) == 6


async def test_a_published_revision_is_not_fetched_again(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        file = entry("a", data, origin.url("a"))
        await harness.pull(file)
        requests = len(origin.entries)
        result = await harness.pull(file)
        assert len(origin.entries) == requests
    assert result.fetched == 0


@pytest.mark.parametrize(
    "rule", [Rule(ignore_range=True), Rule(ignore_range=True, fields=(("Accept-Ranges", "none"),))]
)
async def test_a_server_without_ranges_is_read_as_one_stream(
    serve: Serve, harness: DownloadHarness, data: bytes, rule: Rule
) -> None:
    async with serve({"a": data}, rules=[rule]) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
        assert origin.requests("a")[-1].range == ""
    assert harness.read("a") == data


async def test_ignored_ranges_never_damage_committed_chunks(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.connections = 1
    async with serve({"a": data}, rules=[Rule(ranged=True, ignore_range=True, first=4)]) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
    assert harness.read("a") == data


@pytest.mark.parametrize("honored", [Rule(), Rule(status_200=True)])
async def test_a_server_that_honored_a_range_once_still_gets_range_requests_after_three_full_responses(
    serve: Serve, harness: DownloadHarness, data: bytes, honored: Rule
) -> None:
    """Before a chunk was complete; the range was honored with 206, or with 200 and a Content-Range."""
    harness.connections = 1
    first = replace(honored, ranged=True, cut=10, times=1)
    async with serve({"a": data}, rules=[first, Rule(ranged=True, ignore_range=True, first=2, times=3)]) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
        assert all(request.range for request in origin.requests("a"))
    assert harness.read("a") == data


async def test_a_broken_stream_resumes_after_the_committed_chunks(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    rules = [Rule(ignore_range=True), Rule(ranged=False, cut=3 * CHUNK + 10, times=1)]
    async with serve({"a": data}, rules=rules) as origin:
        result = await harness.pull(entry("a", data, origin.url("a")))
    assert harness.read("a") == data
    assert result.retries > 0


async def test_without_digest_and_validator_the_file_is_one_stream_of_one_version(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    rules = [Rule(etag="", last_modified=""), Rule(ranged=False, cut=3 * CHUNK + 10, times=1)]
    async with serve({"a": data}, rules=rules) as origin:
        await harness.pull(entry("a", data, origin.url("a"), algorithm=None))
        assert [e.range for e in origin.requests("a")][-2:] == ["", ""]
    assert harness.read("a") == data
    assert harness.progress is not None
    assert harness.progress.checksum == "unknown"


async def test_a_changed_validator_restarts_the_file(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        harness.connections = 1
        new = bytes(reversed(data))

        class Swap:
            """Another file after two responses."""

            def get(self, name: str) -> bytes:
                return data if len(origin.entries) < 2 else new

        origin.contents = Swap()  # type: ignore[assignment]
        await harness.pull(entry("a", data, origin.url("a"), algorithm=None))
    assert harness.read("a") == new


async def test_a_file_that_changes_repeatedly_fails(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    rules = [Rule(etag=f'"v{number}"', first=number, times=1) for number in range(1, 60)]
    harness.connections = 1
    async with serve({"a": data}, rules=rules) as origin:
        with pytest.raises(SourceChanged, match="changed while it was fetched"):
            await harness.pull(entry("a", data, origin.url("a"), algorithm=None))
    assert not harness.published


@pytest.mark.parametrize("rules", [[], [Rule(ignore_range=True)]], ids=["ranges", "stream"])
@pytest.mark.parametrize("others", [0, 6], ids=["one chunk", "many"])
async def test_a_page_or_a_pointer_without_a_digest_is_not_published(
    serve: Serve, harness: DownloadHarness, rules: list[Rule], others: int
) -> None:
    """onnx/models#317: also where resolving does not read the first bytes, as in a bucket."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9\n".encode()
    page = b"<!doctype html><title>Sign in</title>" + bytes(others * CHUNK)
    for content in (pointer, page):
        async with serve({"a.bin": content}, rules=rules) as origin:
            with pytest.raises(UnexpectedContent, match=r"a\.bin: https://.*/a\.bin is a (Git LFS pointer|web page)"):
                await harness.pull(entry("a.bin", content, origin.url("a.bin"), algorithm=None))
            assert not harness.published
            await harness.pull(entry("a.bin", content, origin.url("a.bin")))
        assert harness.read("a.bin") == content
        (harness.directory / "current").unlink()


async def test_a_wrong_digest_of_a_pointer_says_what_it_is(serve: Serve, harness: DownloadHarness) -> None:
    content = b"version https://git-lfs.github.com/spec/v1\n"
    async with serve({"a.bin": content}) as origin:
        wrong = entry("a.bin", bytes(len(content)), origin.url("a.bin"))
        with pytest.raises(DigestMismatch, match="not the declared one; it is a Git LFS pointer, and not the file"):
            await harness.pull(wrong)


async def test_another_version_than_the_resolved_one_fails_at_once(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}) as origin:
        with pytest.raises(SourceChanged, match="another version than the one that was resolved"):
            await harness.pull(entry("a", data, origin.url("a"), algorithm=None, validator='"resolved"'))
        assert len(origin.entries) == 1


@pytest.mark.parametrize(
    ("rule", "error", "message", "requests"),
    [
        (Rule(status=404), NotFound, "answered 404; check the URL", 1),
        (Rule(status=410), NotFound, "answered 410", 1),
        # Once more without a range, which may be what is refused.
        (Rule(status=403), Denied, "answered 403", 2),
        (Rule(status=401), Denied, "answered 401", 1),
    ],
)
async def test_a_refusal_by_the_only_location_fails_at_once(
    serve: Serve,
    harness: DownloadHarness,
    data: bytes,
    rule: Rule,
    error: type[ModelferryError],
    message: str,
    requests: int,
) -> None:
    async with serve({"a": data}, rules=[rule]) as origin:
        with pytest.raises(error, match=message) as caught:
            await harness.pull(entry("a", data, origin.url("a") + "?token=secret"))
        assert len(origin.entries) == requests
    assert "secret" not in caught.value.message
    assert caught.value.file == "a"
    assert not harness.published


@pytest.mark.parametrize("status", [400, 403, 406])
@pytest.mark.parametrize("algorithm", ["sha256", None])
async def test_a_firewall_that_forbids_ranges_from_the_first_byte_is_asked_without(
    serve: Serve, harness: DownloadHarness, data: bytes, status: int, algorithm: str | None
) -> None:
    """SpiderLabs/owasp-modsecurity-crs#242: rule 958291 refuses bytes=0-N, and no other range."""
    async with serve({"a": data}, rules=[Rule(ranged=True, covers=0, status=status)]) as origin:
        await harness.pull(entry("a", data, origin.url("a"), algorithm=algorithm))
    assert harness.read("a") == data


async def test_another_location_takes_over(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(status=404)]) as bad, serve({"a": data}) as good:
        await harness.pull(entry("a", data, bad.url("a"), good.url("a")))
        assert len(bad.entries) == 1
    assert harness.read("a") == data


async def test_without_a_digest_another_location_starts_the_file_again(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.connections = 1
    other = bytes(reversed(data))
    async with serve({"a": data}, rules=[Rule(status=404, first=3)]) as bad, serve({"a": other}) as good:
        await harness.pull(entry("a", data, bad.url("a"), good.url("a"), algorithm=None))
    assert harness.read("a") == other


async def test_another_size_than_the_declared_one_is_reported(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data + b"more"}) as origin:
        with pytest.raises(SizeMismatch, match=rf"{len(data) + 4} bytes where {len(data)} are declared"):
            await harness.pull(entry("a", data, origin.url("a")))
    assert not harness.published


async def test_a_server_that_never_answers_correctly_is_reported_with_the_reason(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(content_range="")]) as origin:
        with pytest.raises(ServerMisbehaves, match="206 without Content-Range"):
            await harness.pull(entry("a", data, origin.url("a")))
        assert len(origin.entries) <= 6


async def test_errors_without_progress_end_at_the_progress_deadline(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.progress_deadline = 0.1
    async with serve({"a": data}, rules=[Rule(status=500)]) as origin:
        with pytest.raises(SourceUnavailable, match=r"no progress for .* answered 500"):
            await harness.pull(entry("a", data, origin.url("a")))


async def test_an_unknown_host_is_reported_after_a_few_attempts(harness: DownloadHarness, data: bytes) -> None:
    with pytest.raises(UnknownHost, match=r"nowhere\.invalid does not resolve"):
        await harness.pull(entry("a", data, "https://nowhere.invalid/a"))


async def test_a_refused_connection_is_reported(harness: DownloadHarness, data: bytes) -> None:
    harness.progress_deadline = 0.1
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1"):
        await harness.pull(entry("a", data, "https://127.0.0.1:9/a"))


async def test_plain_http_is_refused_unless_allowed(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}, tls=None) as origin:
        with pytest.raises(PlainHTTPRefused, match="allowPlainHTTP"):
            await harness.pull(entry("a", data, origin.url("a")))
        assert not origin.entries
        harness.allow_plain_http = True
        await harness.pull(entry("a", data, origin.url("a")))
    assert harness.read("a") == data


async def test_a_redirect_is_followed_once_and_remembered(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}) as target, serve({}) as origin:
        origin.script.add(Rule(path="from", redirect=target.url("a")))
        harness.connections = 1
        await harness.pull(entry("a", data, origin.url("from")))
        assert len(origin.entries) == 1
    assert harness.read("a") == data


async def test_a_redirect_whose_target_expired_is_resolved_again(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(status=403, first=3, times=1)]) as target, serve({}) as origin:
        origin.script.add(Rule(path="from", redirect=target.url("a")))
        harness.connections = 1
        await harness.pull(entry("a", data, origin.url("from")))
        assert len(origin.entries) == 2
    assert harness.read("a") == data


async def test_a_redirect_to_plain_http_is_refused(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}, tls=None) as target:
        async with serve({}, rules=[Rule(path="from", redirect=target.url("a"))]) as origin:
            with pytest.raises(PlainHTTPRefused, match="redirects to plain http"):
                await harness.pull(entry("a", data, origin.url("from")))
        assert not target.entries


async def test_a_redirect_loop_is_refused(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({}) as origin:
        origin.script.add(Rule(path="x", redirect=origin.url("y")))
        origin.script.add(Rule(path="y", redirect=origin.url("x")))
        with pytest.raises(ServerMisbehaves, match="redirects in a circle"):
            await harness.pull(entry("a", data, origin.url("x")))


# Corrupt content is detected, located, and fetched again.

BAD = 2 * CHUNK + 77


async def test_with_content_digest_only_the_corrupt_chunk_is_fetched_again(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, digest=True, rules=[Rule(corrupt=BAD, covers=BAD, times=1)]) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
        again = [e for e in origin.requests("a") if e.span and e.span[0] <= BAD < e.span[1]]
        assert len(again) == 2
        assert again[-1].no_cache
        assert origin.sent() == len(data) + CHUNK
    assert harness.read("a") == data


async def test_without_content_digest_the_corrupt_chunk_is_found_by_comparison(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(corrupt=BAD, covers=BAD, times=1)]) as origin:
        await harness.pull(entry("a", data, origin.url("a"), algorithm="md5"))
        # Chunks 0, 1 and 2 were compared, in order; 3 to 5 were not needed.
        assert origin.sent() == len(data) + 3 * CHUNK
    assert harness.read("a") == data


@pytest.mark.parametrize("digest", [True, False])
async def test_a_source_that_is_always_corrupt_is_reported_and_nothing_is_published(
    serve: Serve, harness: DownloadHarness, data: bytes, digest: bool
) -> None:
    async with serve({"a": data}, digest=digest, rules=[Rule(corrupt=BAD, covers=BAD)]) as origin:
        with pytest.raises(DigestMismatch, match=r"^a: ") as caught:
            await harness.pull(entry("a", data, origin.url("a")))
    assert (
        "Content-Digest" in caught.value.message if digest else "every chunk was fetched again" in caught.value.message
    )
    assert not harness.published
    assert not (harness.directory / "revisions").exists()


async def test_a_corrupt_stream_is_fetched_again_from_the_beginning(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    rules = [Rule(ignore_range=True), Rule(ranged=False, corrupt=BAD, times=1)]
    async with serve({"a": data}, rules=rules) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
        assert [(e.range, e.no_cache) for e in origin.requests("a")][-2:] == [("", False), ("", True)]
    assert harness.read("a") == data


async def test_ranges_may_be_ignored_while_chunks_are_compared(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.connections = 1
    rules = [Rule(corrupt=BAD, covers=BAD, times=1), Rule(ranged=True, ignore_range=True, first=7)]
    async with serve({"a": data}, rules=rules) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
    assert harness.read("a") == data


async def test_a_digest_mismatch_names_both_digests(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        wrong = entry("a", bytes(len(data)), origin.url("a"))
        with pytest.raises(DigestMismatch) as caught:
            await harness.pull(wrong)
    right = entry("a", data, "https://x/")
    assert str(wrong.digest) in caught.value.message
    assert str(right.digest) in caught.value.message
