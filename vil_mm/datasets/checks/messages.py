"""Messages about data."""

import logging
from collections.abc import Sequence

from mmengine.logging import print_log

SHOWN = 3


def some(items: Sequence) -> str:
    """Name the first few items."""
    return 'such as ' + '; '.join(map(str, items[:SHOWN]))


def warn(loader: str, items: Sequence, what: str) -> None:
    """Log how many items there are of which something is to be said, if any, and the first few."""
    if items:
        print_log(f'{loader}: {len(items)} {what}; {some(items)}', 'current', logging.WARNING)


def stop(loader: str, found: Sequence, what: str, advice: str) -> None:
    """Raise an error that counts and names what was found, if anything was, and says what to do.

    Raises:
        ValueError: If anything was found.
    """
    if found:
        raise ValueError(f'{loader}: {len(found)} {what}; {some(found)}: {advice}')


def stop_if_many(loader: str, found: Sequence, most: float, what: str, advice: str) -> None:
    """Raise an error as :func:`stop` if more than ``most`` were found, else log those that were, as :func:`warn`.

    Raises:
        ValueError: If more were found.
    """
    if len(found) > most:
        stop(loader, found, what, advice)
    warn(loader, found, what)


def note(loader: str, what: str) -> None:
    """Log something that needs no action."""
    print_log(f'{loader}: {what}', 'current')
