"""What an agent in a pod reports to the controller: progress and outcome, as pure data and its JSON."""

from modelferry.messages.chunk_map import ChunkMap
from modelferry.messages.outcome import Outcome
from modelferry.messages.progress import FileProgress, MirrorProgress, Progress

__all__ = ["ChunkMap", "FileProgress", "MirrorProgress", "Outcome", "Progress"]
