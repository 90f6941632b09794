"""Checks of a run's data before anything is built, for what the libraries skip silently or fail on late."""

from .loaders import check_data

__all__ = ['check_data']
