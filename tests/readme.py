"""What the README shows: its example, and the commands that users copy. The tests run them."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
#: The repository that the README's example downloads.
REPOSITORY = "2Noise/ChatTTS"


def blocks(page: Path = PROJECT / "README.md") -> list[str]:
    """The indented blocks of a page, without their indentation."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page.read_text(), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") + "\n" for block in found]


def example(endpoint: str = "") -> str:
    """The README's model.yaml, and with `endpoint` another Hub than huggingface.co."""
    [found] = [block for block in blocks() if "kind: ModelArtifact" in block]
    if not endpoint:
        return found
    repo = f"      repo: {REPOSITORY}\n"
    assert repo in found
    return found.replace(repo, f"{repo}      endpoint: {endpoint}\n")


def commands(program: str) -> list[str]:
    """The README's commands that begin with `program`, in their order; one may go over several lines."""
    lines = "".join(blocks()).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.split(" ")[0] == program]
