"""The version of jaxgen."""

__version__ = '0.1.0'
