"""What is on the disk for certain. Everything durable happens here, in one order that is true after every crash.

DIR, as it looks::

    DIR/.modelferry/lock                             flock'ed by the one process at work; holds its pid
    DIR/.modelferry/chunks.db                        SQLite, WAL, synchronous=FULL
    DIR/.modelferry/incoming/<revision>/<path>       preallocated; chunks are written into place
    DIR/revisions/<revision>/<path>                  whole, verified, never written again
    DIR/revisions/<revision>/.modelferry-ready.json  the READY marker: written last, so a revision with it is whole
    DIR/current -> revisions/<revision>              switched by one rename

The order of things, and why each stands where it does. ``A < B`` means that A is on stable storage before B begins.

1. Every file is made and preallocated, its directories synced  <  the first byte is asked for.
   A disk that is too small is told at once; and a later row never speaks of a file whose name a crash could take away.
2. A chunk is written into place  <  it is fdatasync'ed, and meanwhile read back and hashed  <  its row says ``done``
   (COMMIT, synchronous=FULL). So a crash before the row costs one chunk's transfer, and never leaves a row that lies. A
   sync that failed is not tried again, because Linux marks the pages clean on failure and the second sync would succeed
   without the data: the chunk stays pending. Several chunks of a file share one sync; all files share one COMMIT, which
   also says ``verified`` of the files that they complete with the right whole digest.
3. Before a chunk that is done is written again (repair), its row is committed as ``pending``  <  the first byte of it
   is overwritten. Before a file begins anew, its generation is committed; the old one's bytes are in another inode,
   which a late writer cannot confuse with the new one (a report names the inode that was written to).
4. After an unclean boot (boot_id differs) a disk may have lost what it promised: every chunk marked done is hashed
   again, those that differ become ``pending``  <  the new boot_id is committed. Without a reboot the page cache
   survives kill -9.
5. Publishing: all files verified (whole digest)  <  every file and directory fsync'ed  <  ``incoming/<revision>`` is
   renamed to ``revisions/<revision>`` and both parents are synced  <  the ``published`` row  <  the READY marker
   (written beside, synced, renamed, directory synced)  <  ``current`` is switched (renamed, directory synced)  <
   older revisions are removed. A crash before the marker leaves a revision that nobody was ever pointed at: the next
   start moves it back to ``incoming`` and goes this way again. A crash after the marker: the next start only switches
   ``current``.

What is hashed when: a chunk once, when it is read back (BLAKE3, and in the same reading the whole file's SHA-256 or
MD5 if the chunk is the next in order, and the SHA-256 of what the server's Content-Digest covers). Chunks that came
out of order are read once more, while still in the page cache, when the order reaches them. Nothing else, unless
something is wrong.
"""
