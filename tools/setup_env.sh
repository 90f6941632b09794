# shellcheck shell=bash
# Sourced by tools/quickstart.sh and tools/run_tests.sh, not run by itself.
# Makes .venv with all that the repository's own commands need, and leaves its
# interpreter's path in VENV_PYTHON. Needs Python >= 3.10 and a C++ compiler
# (mmcv's ops are built from source); PYTHON names another interpreter.

UV_VERSION=0.13.8

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in a log, and says every 30 seconds that it is alive.
run_with_heartbeat() {
    local what=$1 log=$2 start=$SECONDS next=30 status=0 pid
    shift 2
    "$@" >"$log" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null' EXIT
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ $((SECONDS - start)) -ge $next ]; then
            printf '%s: %d s, still at work (%s)\n' "$what" $((SECONDS - start)) "$(tail -n 1 "$log" | tr -s ' ')"
            next=$((next + 30))
        fi
    done
    wait "$pid" || status=$?
    trap - EXIT
    if [ "$status" != 0 ]; then
        tail -n 40 "$log" >&2
        fail "$what failed; the whole log is $log"
    fi
    printf '%s: done in %d s\n' "$what" $((SECONDS - start))
}

# Leaves in UV a uv of the version that this file is written for.
find_uv() {
    local private=$PWD/.cache/uv-$UV_VERSION
    UV=$private/bin/uv
    [ -x "$UV" ] && return
    rm -rf "$private"
    if "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; then
        "$PYTHON" -m venv "$private" && "$private/bin/python" -m pip install --quiet "uv==$UV_VERSION"
    elif "$PYTHON" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m pip install --quiet --target "$private" "uv==$UV_VERSION"
    fi
    [ -x "$UV" ] || fail "$PYTHON has neither venv nor pip to install uv with; install one of them"
}

PYTHON=$(command -v "${PYTHON:-python3}") || fail 'Python >= 3.10 is needed: there is no python3; PYTHON=... names another'
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$PYTHON is $("$PYTHON" --version), and >= 3.10 is needed; PYTHON=... names another"
command -v c++ >/dev/null || command -v g++ >/dev/null || fail 'a C++ compiler is needed: there is no c++ or g++'

unset VIRTUAL_ENV
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
mkdir -p .cache
find_uv
echo 'Setting up .venv. The first time, mmcv builds its ops for about 10 minutes on 2 cores; later it is cached.'
# Where a GPU is seen but there is no nvcc, mmcv must not try to build CUDA ops.
if command -v nvcc >/dev/null; then gpus=(); else gpus=(env CUDA_VISIBLE_DEVICES=); fi
run_with_heartbeat 'set-up' .cache/setup.log "${gpus[@]}" "$UV" sync --all-extras --python "$PYTHON"
# shellcheck disable=SC2034  # for the sourcing script
VENV_PYTHON=$PWD/.venv/bin/python
