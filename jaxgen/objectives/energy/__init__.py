"""Models of an energy, whose density is known up to a constant."""
