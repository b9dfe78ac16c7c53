"""Models that turn an image into noise of as many numbers, and back."""
