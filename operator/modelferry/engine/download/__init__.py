"""One download: which bytes are requested next, from which location, and what follows from each attempt."""
