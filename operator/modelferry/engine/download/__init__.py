"""One download: which bytes are asked for next, from where, and what follows from each attempt."""
