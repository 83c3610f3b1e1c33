"""The ``modelferry`` command: for users on the command line, and the entry point of every container."""
