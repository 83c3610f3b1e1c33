"""Immutable data: the files of a model, their locations, and the chunks in which they are downloaded."""

from modelferry.manifest.chunks import CHUNK_SIZE, SMALL_CHUNK, Chunk, chunk_count, chunks_of
from modelferry.manifest.codec import decode, encode
from modelferry.manifest.entries import Digest, FileEntry, Location, Manifest

__all__ = [
    "CHUNK_SIZE",
    "SMALL_CHUNK",
    "Chunk",
    "Digest",
    "FileEntry",
    "Location",
    "Manifest",
    "chunk_count",
    "chunks_of",
    "decode",
    "encode",
]
