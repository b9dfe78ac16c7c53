"""Models that find their way through noise."""
