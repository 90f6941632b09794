#!/usr/bin/env bash
# Check and measure the GPU kernels on a machine with a GPU, within 10 minutes. PyTorch and pytest are enough, nvcc adds
# the CUDA kernels, pytest-xdist saves time, and the OpenMMLab libraries add whole models.
#
#   bash tools/check_gpu.sh FOLDER [STEP ...]
#
# Steps, all by default and in this order: build check test sanitize benchmark models. Logs and results go to FOLDER. A
# step that fails or runs out of time does not keep the others from running; the command then ends with an error.
set -uo pipefail

[ $# -ge 1 ] || {
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
folder=$(mkdir -p "$1" && cd "$1" && pwd) || exit 2
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export PYTHON=${PYTHON:-python3} PYTHONPATH=$PWD PYTHONUNBUFFERED=1 TRITON_INTERPRET=0 folder

# Seconds that each step may take
declare -A seconds=([build]=110 [check]=100 [test]=140 [sanitize]=60 [benchmark]=130 [models]=60)

build() {
    command -v nvcc >/dev/null && export VIL_MM_BUILD_CUDA=1
    "$PYTHON" setup.py build_ext --inplace
}

check() {
    # each data type and head width takes up to a minute, most of it for compiling
    "$PYTHON" -m vil_mm.ops.self_check --precisions bfloat16 --widths 32
}

test() {
    # otherwise all tests would be skipped, and pass
    "$PYTHON" -c "import torch; assert torch.cuda.is_available(), 'there is no GPU'" || return
    local parallel=()
    "$PYTHON" -c 'import xdist' 2>/dev/null && parallel=(-n 8 --dist worksteal)
    "$PYTHON" -m pytest -p no:cacheprovider -q --durations=10 "${parallel[@]}" tests/test_ops -k '(pytorch or cuda or triton) and not emulated'
}

sanitize() {
    local check failed=0 built
    built=$("$PYTHON" -c "from vil_mm.ops import BACKENDS; print([name for name in BACKENDS if BACKENDS[name].unavailable is None])") || return
    # Triton sees to the order of accesses itself
    for check in memcheck:triton memcheck:cuda racecheck:cuda initcheck:cuda; do
        [[ $built == *"'${check#*:}'"* ]] || continue
        # PyTorch's own kernels are not checked, and its memory pools would hide errors of ours
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "${check%:*}" --error-exitcode 3 --kernel-name-exclude kernel_substring=at:: \
            "$PYTHON" -c "from tests.test_ops.cases import *; torch.manual_seed(0); check_rows(fixed_rows()[::63], '${check#*:}')" ||
            { echo "$check failed"; failed=1; }
    done
    return $failed
}

benchmark() {
    local command=("$PYTHON" tools/benchmarks/sliding_window_attention.py --repeats 20) ours=('ours (triton)' 'ours (cuda)')
    "${command[@]}" --suite acceptance --methods "${ours[@]}" 'ours (pytorch)' "publication's algorithm" 'full SDPA' 'gathered SDPA' \
        --out "$folder/acceptance" || return
    # tuned for minutes, so at one size
    "${command[@]}" --suite maps --maps 56 --batch 64 --methods "${ours[@]}" FlexAttention --out "$folder/flex"
}

models() {
    "$PYTHON" tools/benchmarks/backbones.py --sizes 224 --models 'sliding window' "sliding window, publication's formulation" full \
        --out "$folder/models"
}

all=(build check test sanitize benchmark models)
steps=("$@")
[ $# -gt 0 ] || steps=("${all[@]}")
for step in "${steps[@]}"; do
    [[ " ${all[*]} " == *" $step "* ]] || {
        echo "step '$step' must be one of: ${all[*]}" >&2
        exit 2
    }
done
export -f "${all[@]}"
failed=()
for step in "${steps[@]}"; do
    echo "== $step"
    timeout --signal INT --kill-after 10 "${seconds[$step]}" bash -uo pipefail -c "$step" >"$folder/$step.log" 2>&1
    status=$?
    tail -n 40 "$folder/$step.log"
    [ $status -eq 124 ] && echo "$step took more than ${seconds[$step]} s"
    [ $status -eq 0 ] || failed+=("$step")
done
[ ${#failed[@]} -eq 0 ] || {
    echo "failed: ${failed[*]}; the logs are in $folder" >&2
    exit 1
}
