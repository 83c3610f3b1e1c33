"""Random server errors from a seed: the content is correct anyway."""

from __future__ import annotations

from random import Random

import pytest

from network.harness import CHUNK, DownloadHarness, Serve, entry
from origin.rules import ReceivedRequest, Rule, Script


class RandomErrors(Script):
    """Three of ten responses are wrong, each in a random way."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = Random(seed)

    def apply(self, request: ReceivedRequest) -> list[Rule]:
        random = self._random
        if random.random() < 0.7:
            return []
        at = random.randrange(CHUNK)
        return [
            random.choice(
                [
                    Rule(reset=at),
                    Rule(cut=at),
                    Rule(chunked=True, cut=at),
                    Rule(close_delimited=True, cut=at),
                    Rule(ignore_range=True),
                    Rule(ignore_range=True, cut=at),
                    Rule(shorten=at),
                    Rule(content_range=""),
                    Rule(content_range=f"bytes 1-{CHUNK}/{at + CHUNK + 1}"),
                    Rule(surplus=at + 1),
                    Rule(encoding="gzip"),
                    Rule(status=500),
                    Rule(status=503),
                    Rule(status=204),
                    Rule(raw="HTTP/1.1 206 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
                    Rule(corrupt=(request.start or 0) + at),
                ]
            )
        ]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("digest", [True, False], ids=["with Content-Digest", "without"])
@pytest.mark.parametrize("seed", range(12))
async def test_the_content_is_correct_despite_random_errors(
    serve: Serve, harness: DownloadHarness, seed: int, digest: bool
) -> None:
    data = Random(seed).randbytes(20 * CHUNK + seed)
    async with serve({"a": data}, digest=digest) as origin:
        origin.script = RandomErrors(seed)
        await harness.pull_with_restarts(entry("a", data, origin.url("a")))
    assert harness.read("a") == data
