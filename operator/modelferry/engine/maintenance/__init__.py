"""A published revision: checked, repaired, and inspected."""
