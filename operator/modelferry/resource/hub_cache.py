"""``spec.layout``: the files as the libraries of Hugging Face find them in their cache."""

from __future__ import annotations

from dataclasses import dataclass

#: The values of ``spec.layout``. The first is the default.
LAYOUTS = PLAIN, HUGGING_FACE, BOTH = ("plain", "huggingface", "both")

_DEFAULT_REF = "main"


@dataclass(frozen=True, slots=True)
class HubCache:
    """One repository in a cache of huggingface_hub. ``folder``: such as models--owner--name. ``refs``: the names of
    branches or tags under which a library finds it. ``beside_plain``: the files are under their own paths as well."""

    folder: str
    refs: tuple[str, ...]
    beside_plain: bool

    @classmethod
    def of(cls, repo: str, repo_type: str, revision: str, *, beside_plain: bool) -> HubCache:
        """`repo` (owner/name or name) at `revision`, a branch, tag or commit. It is also found as main, the default of
        every library: the cache has nothing else."""
        refs = (revision,) if revision.startswith(f"{_DEFAULT_REF}/") else tuple(sorted({_DEFAULT_REF, revision}))
        return cls(f"{repo_type}s--{repo.replace('/', '--')}", refs, beside_plain)

    def snapshot(self, revision: str) -> str:
        """The directory of the files of `revision`, a manifest's, which begins with the commit."""
        return f"{self.folder}/snapshots/{self.commit(revision)}"

    @staticmethod
    def commit(revision: str) -> str:
        """The commit in `revision`, a manifest's."""
        return revision.partition("-")[0]


def to_command_line(cache: HubCache | None) -> list[str]:
    """The arguments of ``agent checkpoint`` for `cache`."""
    if cache is None:
        return []
    refs = [word for ref in cache.refs for word in ("--hub-ref", ref)]
    return ["--layout", BOTH if cache.beside_plain else HUGGING_FACE, "--hub-folder", cache.folder, *refs]


def from_command_line(layout: str, folder: str, refs: list[str]) -> HubCache | None:
    """The reverse of `to_command_line`."""
    return None if layout == PLAIN else HubCache(folder, tuple(refs), layout == BOTH)
