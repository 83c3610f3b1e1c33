"""What an agent in a pod tells the controller: its outcome, and its progress while it runs. Pure data and its JSON."""

from modelferry.messages.chunk_map import ChunkMap
from modelferry.messages.outcome import Outcome
from modelferry.messages.progress import FileProgress, MirrorProgress, Progress

__all__ = ["ChunkMap", "FileProgress", "MirrorProgress", "Outcome", "Progress"]
