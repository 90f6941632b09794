"""The process that runs a check, so that nothing that happens there harms the user's: ``worker.py JOB PROGRESS``."""

import faulthandler
import json
import pickle
import sys
from pathlib import Path

import torch

from .judge import RejectedError, examine


def main(job: str, progress: str) -> None:
    """Examine a backend.

    Args:
        job (str): A file with what :func:`vil_mm.ops.self_check.judge.examine`
            takes, and the seconds that each problem may take.
        progress (str): The file that is told what happens, in lines of JSON.
    """
    candidate, floor, refuse, device, precision, width, patience = pickle.loads(Path(job).read_bytes())

    def write(**state) -> None:
        with open(progress, 'a') as file:
            file.write(json.dumps(state) + '\n')

    def begin(problem: str) -> None:
        write(at=problem)
        # shows where it hangs, and works where Python cannot: in a driver or a compiler
        faulthandler.dump_traceback_later(patience, exit=True)

    faulthandler.enable()
    try:
        write(passed=examine(candidate, floor, refuse, torch.device(device), precision, width, begin))
    except RejectedError as error:
        write(rejected=str(error))
    except torch.OutOfMemoryError as error:
        write(stopped=str(error))


if __name__ == '__main__':
    main(*sys.argv[1:])
