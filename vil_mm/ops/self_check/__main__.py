"""Check all backends that need it on this machine's GPU: ``python -m vil_mm.ops.self_check``."""

import argparse
import itertools
import sys

import torch

from ..backends import BACKENDS
from ..choice import find_floor
from .checking import Subject, find_or_check
from .problems import PRECISIONS, WIDTHS


def main(args: list[str] | None = None) -> int:
    """Check anew, and print a table.

    Args:
        args (list[str], optional): Arguments of the command. Defaults to
            those of this process.

    Returns:
        int: 1 if something was checked and did not pass, else 0.
    """
    parser = argparse.ArgumentParser(prog='python -m vil_mm.ops.self_check', description=__doc__.split('\n')[0])
    parser.add_argument('--device', type=torch.device, default='cuda:0', help='default: cuda:0')
    parser.add_argument('--precisions', nargs='+', choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument('--widths', nargs='+', type=int, choices=WIDTHS, default=WIDTHS, help='of heads')
    options = parser.parse_args(args)
    if not torch.get_device_module(options.device).is_available():
        parser.error(f'--device {options.device}: there is none')
    names = [name for name, backend in BACKENDS.items() if backend.needs_proof]
    print(f'{"backend":10}{"precision":11}{"width":>5}  result')
    failed = False
    for name, precision, width in itertools.product(names, options.precisions, options.widths):
        dtype = torch.float32 if precision == 'tf32' else getattr(torch, precision)
        q = torch.empty(1, 1, 1, width, dtype=dtype, device=options.device)
        possible, result = BACKENDS[name].can_run(q)
        if possible:
            verdict = find_or_check(Subject(name, str(options.device), precision, width), find_floor(q), recheck=True)
            failed |= verdict.reason is not None
            result = str(verdict)
        print(f'{name:10}{precision:11}{width:5}  {result}', flush=True)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
