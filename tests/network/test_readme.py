"""The README's commands for one machine, as they stand there, with a Hub on loopback for huggingface.co."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from origin.certs import Authority, Leaf
from origin.hub import CDN, Hub, Repo
from readme import REPOSITORY, commands, example

FILES = {
    "README.md": b"# Speech\n",
    "config/decoder.yaml": b"x: 1\n",
    "asset/gpt.safetensors": Random(4).randbytes(100_000),
}


async def test_the_commands_for_one_machine_work_as_they_stand(
    tmp_path: Path, leaf: Leaf, authority: Authority
) -> None:
    tls = leaf.context()
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    lines = commands(".venv/bin/modelferry")
    async with CDN(tls=tls) as cdn, Hub({REPOSITORY: Repo(FILES)}, cdn, tls=tls) as hub:
        (tmp_path / "model.yaml").write_text(example(hub.base))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        trust = {"SSL_CERT_FILE": str(authority.ca_file), "no_proxy": "*", "NO_PROXY": "*"}
        process = await asyncio.create_subprocess_exec(
            "sh", "-ec", "\n".join(lines), cwd=tmp_path,
            env=clean | trust | {"HF_ENDPOINT": hub.base, "HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    current = tmp_path / "chattts" / "current"
    assert {path: (current / path).read_bytes() for path in FILES} == FILES
    assert [path.name for path in (tmp_path / "config-only/current/config").iterdir()] == ["decoder.yaml"]
    assert (tmp_path / "model.yaml").read_text().startswith(f"# hf://{REPOSITORY}\n")
    assert "all intact" in out.decode()
