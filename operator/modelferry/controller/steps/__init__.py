"""The steps of a plan, each a pure function of the observed state: manifest, storage, copy, removal, deletion."""
