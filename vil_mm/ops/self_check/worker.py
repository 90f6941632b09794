"""The process that runs a check, so that nothing that happens there harms the user's: ``worker.py JOB``."""

import faulthandler
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from .judge import RejectedError, examine


def load(name: str | None) -> Callable | None:
    """Import ``module:function``."""
    if name is None:
        return None
    module, function = name.split(':')
    return getattr(importlib.import_module(module), function)


def main(job: dict) -> None:
    """Examine a backend, and write what happens to a file, as lines of JSON."""
    progress = Path(job['progress'])

    def write(**state) -> None:
        with progress.open('a') as file:
            file.write(json.dumps(state) + '\n')

    def begin(problem: str) -> None:
        write(at=problem)
        # shows where it hangs, and works where Python cannot: in a driver or a compiler
        faulthandler.dump_traceback_later(job['patience'], exit=True)

    faulthandler.enable()
    functions = [load(job[name]) for name in ('candidate', 'floor', 'refuse')]
    settings = (torch.device(job['device']), job['precision'], job['width'])
    try:
        write(passed=examine(*functions, *settings, begin))
    except RejectedError as error:
        write(rejected=str(error))
    except torch.OutOfMemoryError as error:
        write(stopped=str(error))


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
