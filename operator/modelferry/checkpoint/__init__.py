"""Records what is on the disk for certain. All durable changes happen here, in an order that is correct after every
crash.

The layout of a target directory DIR::

    DIR/.modelferry/lock                             held by flock(2) by the one process that works in DIR; has its pid
    DIR/.modelferry/chunks.db                        SQLite, in WAL mode with synchronous=FULL
    DIR/.modelferry/current.json                     when ``current`` pointed at which revision
    DIR/.modelferry/incoming/<revision>/<path>       preallocated; chunks are written in place
    DIR/revisions/<revision>/<path>                  complete and verified; never written again
    DIR/revisions/<revision>/.modelferry-ready.json  the READY marker; written last, so a revision with it is complete
    DIR/current -> revisions/<revision>              replaced by one rename

`hub_links` adds hard links in the layout of a Hugging Face cache, if the spec wants them, between the row and the
marker of step 5.

The steps, and the reasons for their order. "Before" means: on stable storage before the next step begins.

1. Before the first byte is requested, every file is created and preallocated, and its directories are synced. So a disk
   that is too small is reported at once, and no row refers to a file whose name a crash can remove.
2. A chunk is written in place. Then it is synced (fdatasync), and meanwhile read back and hashed. Only after that, its
   row is committed as ``done`` (synchronous=FULL). A crash before the commit costs one chunk's transfer, and no row is
   ever wrong. A sync that failed is not repeated: Linux marks the pages clean after the failure, so a second sync would
   succeed without the data. The chunk stays pending. Several chunks of a file share one sync, and all files share one
   commit. The commit also records files as ``verified`` if these chunks complete them with the right digest.
3. Before a done chunk is overwritten (to repair it), its row is committed as ``pending``. Before a file starts again
   from its beginning, its new generation is committed. The bytes of the old generation are in another inode, and a
   report names the inode that was written to, so a late writer cannot confuse the two.
4. After an unclean boot (the boot_id differs), the disk may have lost bytes that it had confirmed. So every done chunk
   is hashed, and those that differ become ``pending``, before the new boot_id is committed. Without a reboot this is
   not necessary, because the page cache survives kill -9.
5. Publishing: all files are verified. Then all files and directories are synced (fsync). Then ``incoming/<revision>``
   is renamed to ``revisions/<revision>``, and both parents are synced. Then the ``published`` row is committed. Then
   the READY marker is written (to a temporary file that is synced and renamed; its directory is synced). Then
   ``current`` is replaced (by a rename; its directory is synced), between two records in ``current.json``. Then older
   revisions are removed, but those that a running pod may have mounted. A crash before the
   marker leaves a revision to which ``current`` never pointed: the next start moves it back to ``incoming``, and
   publishes it again. After a crash behind the marker, the next start only replaces ``current``.

On a file system without symbolic links, ``current`` is the directory of the current revision. It is replaced by two
renames: to ``revisions/<its revision>``, and of ``revisions/<revision>`` to ``current``. Both revisions have their
markers by then, so after a crash between the two the next start makes the second.

A chunk is hashed once, when it is read back: with BLAKE3, with SHA-256 for each range that the server sent a
Content-Digest for, and, if it is the next chunk in order, into the running digest of the file (SHA-256, MD5 or Git's
SHA-1). A chunk that arrived out of order is read once more, while it is still in the page cache, when the running
digest reaches it. Nothing else is hashed, unless something is wrong.
"""
