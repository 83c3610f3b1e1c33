"""The whole engine against an origin that misbehaves: the bytes on the disk, the requests sent, the reason reported."""

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
    UnknownHost,
)
from network.world import CHUNK, Serve, World, entry
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks")


async def test_a_well_behaved_origin_sends_every_byte_once(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a.bin": data, "b.txt": b"hello", "empty": b""}) as origin:
        files = [entry("a.bin", data, origin.url("a.bin")), entry("sub/b.txt", b"hello", origin.url("b.txt"))]
        result = await world.pull(*files, entry("sub/empty", b"", origin.url("empty")))
        assert origin.sent() == len(data) + 5
    assert world.read("a.bin") == data
    assert world.read("sub/b.txt") == b"hello"
    assert world.read("sub/empty") == b""
    assert (result.fetched, result.retries) == (len(data) + 5, 0)
    assert world.progress is not None
    assert (world.progress.phase, world.progress.checksum) == ("published", "verified")


async def test_connections_are_reused(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        world.connections = 2
        await world.pull(entry("a", data, origin.url("a")))
        assert origin.accepted <= 2
        assert len(origin.entries) == 6


async def test_a_published_revision_is_not_fetched_again(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        file = entry("a", data, origin.url("a"))
        await world.pull(file)
        asked = len(origin.entries)
        result = await world.pull(file)
        assert len(origin.entries) == asked
    assert result.fetched == 0


@pytest.mark.parametrize(
    "rule", [Rule(ignore_range=True), Rule(ignore_range=True, fields=(("Accept-Ranges", "none"),))]
)
async def test_a_server_without_ranges_is_read_as_one_stream(
    serve: Serve, world: World, data: bytes, rule: Rule
) -> None:
    async with serve({"a": data}, rules=[rule]) as origin:
        await world.pull(entry("a", data, origin.url("a")))
        assert origin.requests("a")[-1].range == ""
    assert world.read("a") == data


async def test_ranges_that_are_ignored_later_never_spoil_what_is_there(serve: Serve, world: World, data: bytes) -> None:
    world.connections = 1
    async with serve({"a": data}, rules=[Rule(ranged=True, ignore_range=True, first=4)]) as origin:
        await world.pull(entry("a", data, origin.url("a")))
    assert world.read("a") == data


@pytest.mark.parametrize("kept", [Rule(), Rule(says_200=True)])
async def test_a_server_that_kept_to_a_range_once_is_asked_for_parts_after_three_whole_files(
    serve: Serve, world: World, data: bytes, kept: Rule
) -> None:
    """Before one chunk has come whole; where it kept to the range by status or by Content-Range alone."""
    world.connections = 1
    begun = replace(kept, ranged=True, cut=10, times=1)
    async with serve({"a": data}, rules=[begun, Rule(ranged=True, ignore_range=True, first=2, times=3)]) as origin:
        await world.pull(entry("a", data, origin.url("a")))
        assert all(asked.range for asked in origin.requests("a"))
    assert world.read("a") == data


async def test_a_stream_that_breaks_goes_on_from_what_is_committed(serve: Serve, world: World, data: bytes) -> None:
    rules = [Rule(ignore_range=True), Rule(ranged=False, cut=3 * CHUNK + 10, times=1)]
    async with serve({"a": data}, rules=rules) as origin:
        result = await world.pull(entry("a", data, origin.url("a")))
    assert world.read("a") == data
    assert result.retries > 0


async def test_without_digest_and_validator_the_file_is_one_stream_of_one_version(
    serve: Serve, world: World, data: bytes
) -> None:
    rules = [Rule(etag="", last_modified=""), Rule(ranged=False, cut=3 * CHUNK + 10, times=1)]
    async with serve({"a": data}, rules=rules) as origin:
        await world.pull(entry("a", data, origin.url("a"), algorithm=None))
        assert [e.range for e in origin.requests("a")][-2:] == ["", ""]
    assert world.read("a") == data
    assert world.progress is not None
    assert world.progress.checksum == "unknown"


async def test_a_changed_validator_begins_a_new_generation(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        world.connections = 1
        new = bytes(reversed(data))

        class Swap:
            """After two answers the file is another one."""

            def get(self, name: str) -> bytes:
                return data if len(origin.entries) < 2 else new

        origin.contents = Swap()  # type: ignore[assignment]
        await world.pull(entry("a", data, origin.url("a"), algorithm=None))
    assert world.read("a") == new


async def test_a_file_that_changes_all_the_time_is_given_up(serve: Serve, world: World, data: bytes) -> None:
    rules = [Rule(etag=f'"v{number}"', first=number, times=1) for number in range(1, 60)]
    world.connections = 1
    async with serve({"a": data}, rules=rules) as origin:
        with pytest.raises(SourceChanged, match="changed while it was fetched"):
            await world.pull(entry("a", data, origin.url("a"), algorithm=None))
    assert not world.published


async def test_a_file_that_is_not_the_resolved_one_is_refused_at_once(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        with pytest.raises(SourceChanged, match="another version than the one that was resolved"):
            await world.pull(entry("a", data, origin.url("a"), algorithm=None, validator='"resolved"'))
        assert len(origin.entries) == 1


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        (Rule(status=404), NotFound, "answered 404; check the URL"),
        (Rule(status=410), NotFound, "answered 410"),
        (Rule(status=403), Denied, "answered 403"),
        (Rule(status=401), Denied, "answered 401"),
    ],
)
async def test_a_refusal_from_the_only_place_is_final_at_once(
    serve: Serve, world: World, data: bytes, rule: Rule, error: type[ModelferryError], message: str
) -> None:
    async with serve({"a": data}, rules=[rule]) as origin:
        with pytest.raises(error, match=message) as caught:
            await world.pull(entry("a", data, origin.url("a") + "?token=secret"))
        assert len(origin.entries) == 1
    assert "secret" not in caught.value.message
    assert caught.value.file == "a"
    assert not world.published


async def test_another_place_takes_over(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(status=404)]) as bad, serve({"a": data}) as good:
        await world.pull(entry("a", data, bad.url("a"), good.url("a")))
        assert len(bad.entries) == 1
    assert world.read("a") == data


async def test_another_place_takes_over_without_a_digest_from_the_beginning(
    serve: Serve, world: World, data: bytes
) -> None:
    world.connections = 1
    other = bytes(reversed(data))
    async with serve({"a": data}, rules=[Rule(status=404, first=3)]) as bad, serve({"a": other}) as good:
        await world.pull(entry("a", data, bad.url("a"), good.url("a"), algorithm=None))
    assert world.read("a") == other


async def test_another_length_than_the_declared_one_is_told(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data + b"more"}) as origin:
        with pytest.raises(SizeMismatch, match=rf"{len(data) + 4} bytes where {len(data)} are declared"):
            await world.pull(entry("a", data, origin.url("a")))
    assert not world.published


async def test_a_server_that_never_answers_right_is_told_with_the_rule(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(content_range="")]) as origin:
        with pytest.raises(ServerMisbehaves, match="206 without Content-Range"):
            await world.pull(entry("a", data, origin.url("a")))
        assert len(origin.entries) <= 6


async def test_errors_without_progress_spend_the_patience(serve: Serve, world: World, data: bytes) -> None:
    world.progress_deadline = 0.1
    async with serve({"a": data}, rules=[Rule(status=500)]) as origin:
        with pytest.raises(SourceUnavailable, match=r"no progress for .* answered 500"):
            await world.pull(entry("a", data, origin.url("a")))


async def test_an_unknown_host_is_told_after_a_few_tries(world: World, data: bytes) -> None:
    with pytest.raises(UnknownHost, match=r"nowhere\.invalid does not resolve"):
        await world.pull(entry("a", data, "https://nowhere.invalid/a"))


async def test_nobody_listening_is_told(world: World, data: bytes) -> None:
    world.progress_deadline = 0.1
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1"):
        await world.pull(entry("a", data, "https://127.0.0.1:9/a"))


async def test_plain_http_is_refused_without_leave(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, tls=None) as origin:
        with pytest.raises(PlainHTTPRefused, match="allowPlainHTTP"):
            await world.pull(entry("a", data, origin.url("a")))
        assert not origin.entries
        world.allow_plain_http = True
        await world.pull(entry("a", data, origin.url("a")))
    assert world.read("a") == data


async def test_redirects_are_followed_once_and_remembered(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}) as target, serve({}) as origin:
        origin.script.add(Rule(path="from", redirect=target.url("a")))
        world.connections = 1
        await world.pull(entry("a", data, origin.url("from")))
        assert len(origin.entries) == 1
    assert world.read("a") == data


async def test_a_redirect_whose_target_expired_is_resolved_again(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(status=403, first=3, times=1)]) as target, serve({}) as origin:
        origin.script.add(Rule(path="from", redirect=target.url("a")))
        world.connections = 1
        await world.pull(entry("a", data, origin.url("from")))
        assert len(origin.entries) == 2
    assert world.read("a") == data


async def test_a_redirect_to_plain_http_is_refused(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, tls=None) as target:
        async with serve({}, rules=[Rule(path="from", redirect=target.url("a"))]) as origin:
            with pytest.raises(PlainHTTPRefused, match="redirects to plain http"):
                await world.pull(entry("a", data, origin.url("from")))
        assert not target.entries


async def test_a_redirect_in_a_circle_is_refused(serve: Serve, world: World, data: bytes) -> None:
    async with serve({}) as origin:
        origin.script.add(Rule(path="x", redirect=origin.url("y")))
        origin.script.add(Rule(path="y", redirect=origin.url("x")))
        with pytest.raises(ServerMisbehaves, match="redirects in a circle"):
            await world.pull(entry("a", data, origin.url("x")))


# What is corrupt: found, located, fetched alone.

BAD = 2 * CHUNK + 77


async def test_with_content_digest_a_corrupt_chunk_is_fetched_again_alone(
    serve: Serve, world: World, data: bytes
) -> None:
    async with serve({"a": data}, digest=True, rules=[Rule(corrupt=BAD, covers=BAD, times=1)]) as origin:
        await world.pull(entry("a", data, origin.url("a")))
        again = [e for e in origin.requests("a") if e.span and e.span[0] <= BAD < e.span[1]]
        assert len(again) == 2
        assert again[-1].no_cache
        assert origin.sent() == len(data) + CHUNK
    assert world.read("a") == data


async def test_without_it_the_corrupt_chunk_is_located_by_comparison(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(corrupt=BAD, covers=BAD, times=1)]) as origin:
        await world.pull(entry("a", data, origin.url("a"), algorithm="md5"))
        # Chunks 0, 1 and 2 were compared, in order; 3 to 5 did not have to be.
        assert origin.sent() == len(data) + 3 * CHUNK
    assert world.read("a") == data


@pytest.mark.parametrize("digest", [True, False])
async def test_a_source_that_is_always_corrupt_is_told_and_nothing_published(
    serve: Serve, world: World, data: bytes, digest: bool
) -> None:
    async with serve({"a": data}, digest=digest, rules=[Rule(corrupt=BAD, covers=BAD)]) as origin:
        with pytest.raises(DigestMismatch, match=r"^a: ") as caught:
            await world.pull(entry("a", data, origin.url("a")))
    assert (
        "Content-Digest" in caught.value.message if digest else "every chunk was fetched again" in caught.value.message
    )
    assert not world.published
    assert not (world.directory / "revisions").exists()


async def test_a_corrupt_stream_is_fetched_once_more_as_a_whole(serve: Serve, world: World, data: bytes) -> None:
    rules = [Rule(ignore_range=True), Rule(ranged=False, corrupt=BAD, times=1)]
    async with serve({"a": data}, rules=rules) as origin:
        await world.pull(entry("a", data, origin.url("a")))
        assert [(e.range, e.no_cache) for e in origin.requests("a")][-2:] == [("", False), ("", True)]
    assert world.read("a") == data


async def test_ranges_that_are_ignored_while_chunks_are_compared(serve: Serve, world: World, data: bytes) -> None:
    world.connections = 1
    rules = [Rule(corrupt=BAD, covers=BAD, times=1), Rule(ranged=True, ignore_range=True, first=7)]
    async with serve({"a": data}, rules=rules) as origin:
        await world.pull(entry("a", data, origin.url("a")))
    assert world.read("a") == data


async def test_a_wrong_declared_digest_names_both(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        wrong = entry("a", bytes(len(data)), origin.url("a"))
        with pytest.raises(DigestMismatch) as caught:
            await world.pull(wrong)
    right = entry("a", data, "https://x/")
    assert str(wrong.digest) in caught.value.message
    assert str(right.digest) in caught.value.message
