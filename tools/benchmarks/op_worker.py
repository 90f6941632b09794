"""Time single calls of the CPU kernels of one version of this package, which PYTHONPATH names; see compare_versions.py.

Each line of the input is a job as JSON, each line of the output its seconds.
"""

import json
import sys
from functools import cache, partial

import torch
from attention_methods import METHODS
from measure import seconds
from problem import DIRECTIONS, Shape, make_inputs

CPU = torch.device('cpu')


@cache
def prepare(shape: Shape, dtype: str, method: str, direction: str) -> partial:
    """Make a call, and warm it up."""
    inputs, grad = make_inputs(shape, getattr(torch, dtype), CPU)
    run = partial(DIRECTIONS[direction], METHODS[method].prepare(shape, CPU), inputs, grad)
    run()
    return run


@cache
def prepare_product(dtype: str) -> partial:
    """Make a matrix product in the same precision, to compare with."""
    a = torch.ones(1024, 1024, dtype=getattr(torch, dtype))
    torch.mm(a, a)
    return partial(torch.mm, a, a)


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        torch.set_num_threads(job['threads'])
        if job['direction'] == 'product':
            run = prepare_product(job['dtype'])
        else:
            run = prepare(Shape(**job['shape']), job['dtype'], job['method'], job['direction'])
        print(seconds(run, CPU), flush=True)


if __name__ == '__main__':
    main()
