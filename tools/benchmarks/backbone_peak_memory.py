"""Measure the peak memory of one backbone on the CPU, in a process of its own (see measure.py)."""

import json
import sys

import torch
from backbone_models import make_run
from measure import ResidentMemory


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job['threads'])
    # One-off costs and the optimizer's state do not count as memory of a mechanism
    settings = {name: job[name] for name in ('name', 'size', 'batch', 'direction')}
    run = make_run(**settings, dtype=getattr(torch, job['dtype']))
    run()
    print(json.dumps(ResidentMemory().peak(run)))


if __name__ == '__main__':
    main()
