"""Writing to the disk: the layout of a target directory, and durable file operations. Everything but `incoming_files`
blocks."""
