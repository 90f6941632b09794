"""The version, in one place, and what the extension needs; ``setup.py`` reads both."""

__version__ = '0.1.0'
#: The oldest PyTorch that has all of the stable ABI that the extension uses.
EXTENSION_NEEDS_TORCH = '2.10'
