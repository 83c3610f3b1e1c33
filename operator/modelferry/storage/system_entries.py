"""The names that file systems, storage servers and desktops put into directories by themselves. Pure.

They are nobody's content: a directory that has only these is empty, and they are neither listed nor removed.
"""

from __future__ import annotations

#: In lower case, because Windows and macOS write some of them in several spellings.
_NAMES = frozenset(
    {
        "lost+found",  # ext2 to ext4, and others
        "aquota.group", "aquota.user", "quota.group", "quota.user",
        ".snapshot", ".snapshots", "~snapshot", ".snap", ".zfs",  # ONTAP, OneFS, snapper, Spectrum Scale, CephFS, ZFS
        ".glusterfs", ".trashcan",
        "@eadir", "#recycle", "#snapshot", "@recycle", ".@__thumb",  # Synology, QNAP
        "system volume information", "$recycle.bin", "recycler", "desktop.ini", "thumbs.db",
        ".ds_store", ".apdisk", ".fseventsd", ".spotlight-v100", ".temporaryitems", ".documentrevisions-v100",
        ".volumeicon.icns",
        ".trash", ".trashes",
    }
)  # fmt: skip
#: ``.Trash-UID`` of the freedesktop.org trash, and names of removed files that a process still has open (NFS, FUSE).
_PREFIXES = (".trash-", ".nfs0", ".fuse_hidden")


def is_system_entry(name: str) -> bool:
    """Whether `name` in a directory is not its user's."""
    lower = name.casefold()
    return lower in _NAMES or lower.startswith(_PREFIXES)
