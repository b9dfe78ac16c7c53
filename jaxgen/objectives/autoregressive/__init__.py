"""Models that draw an image pixel by pixel, each given those before it."""
