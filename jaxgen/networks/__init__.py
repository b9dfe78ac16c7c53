"""Flax networks: parameters only, one example in, one example out; batches come from `vmap`."""
