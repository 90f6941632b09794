#!/usr/bin/env bash
# Check the CUDA kernels on a machine with a GPU. PyTorch, pytest and nvcc are enough; no OpenMMLab library is needed.
#
#   bash tools/check_gpu.sh FOLDER [STEP ...]
#
# Steps, all by default and in this order: build test sanitize benchmark. Logs and results go to FOLDER. Where all tests
# pass, vil_mm/ops/cuda_tested.json is written, which switches the kernels on; commit it with the results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -ge 1 ] || {
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
python=${PYTHON:-python3}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1

build() {
    VIL_MM_BUILD_CUDA=1 "$python" setup.py build_ext --inplace >"$folder/build.log" 2>&1 ||
        { tail -n 40 "$folder/build.log"; return 1; }
}

test() {
    "$python" -m pytest -p no:cacheprovider -q --durations=10 tests/test_ops -k 'cuda and not emulated' 2>&1 |
        tee "$folder/test.log"
    "$python" - >vil_mm/ops/cuda_tested.json <<'PYTHON'
import json, os, subprocess, torch
commit = os.environ.get('COMMIT') or subprocess.check_output(['git', 'rev-parse', 'HEAD'], text=True).strip()
record = dict(gpu=torch.cuda.get_device_name(), torch=torch.__version__, cuda=torch.version.cuda, commit=commit)
print(json.dumps(record, indent=2))
PYTHON
    cp vil_mm/ops/cuda_tested.json "$folder"
}

sanitize() {
    local tool
    for tool in memcheck racecheck initcheck; do
        # PyTorch's own allocations and copies are not what is checked here
        compute-sanitizer --tool "$tool" --error-exitcode 3 --kernel-name-exclude kernel_substring=at:: \
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

for step in ${@:-build test sanitize benchmark}; do
    case $step in
        build | test | sanitize | benchmark) ;;
        *) echo "step '$step' must be one of: build test sanitize benchmark" >&2 && exit 2 ;;
    esac
    echo "== $step"
    "$step"
done
