#!/usr/bin/env bash
# Check the CUDA kernels on a machine with a GPU. PyTorch, pytest and nvcc are enough; no OpenMMLab library is needed.
#
#   bash tools/check_gpu.sh FOLDER [STEP ...]
#
# Steps, all by default and in this order: build test sanitize benchmark. Logs and results go to FOLDER.
set -euo pipefail

[ $# -ge 1 ] || {
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1

build() {
    VIL_MM_BUILD_CUDA=1 "$python" setup.py build_ext --inplace >"$folder/build.log" 2>&1 ||
        { tail -n 40 "$folder/build.log"; return 1; }
}

test() {
    # otherwise all tests would be skipped, and pass
    "$python" -c "
import torch
from vil_mm.ops import BACKENDS
assert torch.cuda.is_available(), 'there is no GPU'
assert BACKENDS['cuda'].unavailable is None, BACKENDS['cuda'].unavailable"
    "$python" -m pytest -p no:cacheprovider -q --durations=10 tests/test_ops -k 'cuda and not emulated' 2>&1 |
        tee "$folder/test.log"
}

sanitize() {
    local tool
    for tool in memcheck racecheck initcheck; do
        # PyTorch's own kernels are not checked, and its memory pools would hide errors of ours
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 3 --kernel-name-exclude kernel_substring=at:: \
            "$python" -c "from tests.test_ops.cases import *; torch.manual_seed(0); check_rows(fixed_rows()[::31], 'cuda')" \
            2>&1 | tee "$folder/$tool.log" | tail -n 5
    done
}

benchmark() {
    "$python" tools/benchmarks/sliding_window_attention.py --suite acceptance --out "$folder/acceptance" 2>&1 |
        tee "$folder/benchmark.log"
    "$python" tools/benchmarks/sliding_window_attention.py --suite maps --repeats 20 --out "$folder/maps" 2>&1 |
        tee -a "$folder/benchmark.log"
}

steps=("$@")
[ $# -gt 0 ] || steps=(build test sanitize benchmark)
for step in "${steps[@]}"; do
    [[ " build test sanitize benchmark " == *" $step "* ]] || {
        echo "step '$step' must be one of: build test sanitize benchmark" >&2
        exit 2
    }
done
for step in "${steps[@]}"; do
    echo "== $step"
    "$step"
done
