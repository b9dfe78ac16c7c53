"""jaxgen: train and compare deep generative models in JAX and Flax."""

from jaxgen.version import __version__

__all__ = ['__version__']
