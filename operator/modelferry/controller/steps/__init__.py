"""The steps of a plan, each a pure function of the facts: manifest, storage, node, leaving, deletion, housekeeping."""
