"""Measure the peak memory of one method at one shape on the CPU, in a process of its own (see measure.py)."""

import json
import resource
import sys
from dataclasses import replace
from functools import partial

import torch
from attention_methods import METHODS
from measure import ResidentMemory, process_memory
from problem import DIRECTIONS, Shape, make_inputs


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job['threads'])
    method, shape, dtype = METHODS[job['method']], Shape(**job['shape']), getattr(torch, job['dtype'])
    device = torch.device('cpu')
    # One-off costs of libraries do not count as memory of a method. Warm up at a tiny
    # shape, so that buffers that grow with the shape count even if they are kept;
    # compiled code serves one shape and keeps none.
    warm = shape if method.compiled else replace(shape, batch=1, height=shape.window_size, width=shape.window_size)
    attend = method.prepare(warm, device)
    inputs, grad = make_inputs(warm, dtype, device)
    for direction in job['directions']:
        DIRECTIONS[direction](attend, inputs, grad)
    if not method.compiled:
        attend = method.prepare(shape, device)
        inputs, grad = make_inputs(shape, dtype, device)
    memory = ResidentMemory()
    limit = process_memory('VmData') + job['limit']
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    result = {}
    for direction in job['directions']:
        try:
            result[direction] = memory.peak(partial(DIRECTIONS[direction], attend, inputs, grad))
        except (RuntimeError, MemoryError) as error:
            result[direction] = str(error)
    print(json.dumps(result))


if __name__ == '__main__':
    main()
