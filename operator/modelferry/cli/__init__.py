"""The ``modelferry`` command: what a person types, and the one entry point of every container."""
