"""Generative models, one file each: equations, then the factory, then `build` from a config."""
