"""Runs hf_transfer as huggingface_hub does: ``hf_runner.py LIST``, JSON pairs of URL and path.

It runs in a virtual environment of its own, without this project. The options are those of ``huggingface_hub``: 8 files
at a time (``snapshot_download``; here in processes, since hf_transfer holds the GIL while it downloads), 100 requests
at a time for each file (``HF_TRANSFER_CONCURRENCY``) of 10 MiB (``DOWNLOAD_CHUNK_SIZE``), 3 parallel failures, 5
retries.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import hf_transfer  # type: ignore[import-not-found]


def fetch(pair: tuple[str, str]) -> None:
    """Download one file."""
    url, path = pair
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    hf_transfer.download(
        url=url, filename=path, max_files=100, chunk_size=10 * 1024 * 1024, parallel_failures=3, max_retries=5
    )


if __name__ == "__main__":
    pairs = json.loads(Path(sys.argv[1]).read_text())
    if len(pairs) == 1:
        fetch(pairs[0])
    else:
        with ProcessPoolExecutor(8) as pool:
            list(pool.map(fetch, pairs))
