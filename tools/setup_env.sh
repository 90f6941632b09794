# shellcheck shell=bash
# Sourced by tools/quickstart.sh and tools/run_tests.sh, not run by itself.
# Makes .venv with everything that the repository's own commands need, builds the extension
# in place, and leaves the interpreter's path in VENV_PYTHON. Needs Python >= 3.10 with its headers and venv
# or pip, and a C++ compiler (mmcv's ops are built from source). PYTHON names
# an interpreter other than python3.

UV_VERSION=0.13.8
NINJA_VERSION=1.13.2

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in a log, and reports every 30 seconds that it is still running.
run_with_heartbeat() {
    local what=$1 log=$2 start=$SECONDS next=30 status=0 pid
    shift 2
    set -m # a process group of its own, so that an interrupt ends all of it
    "$@" >"$log" 2>&1 &
    pid=$!
    set +m
    trap 'kill -- -"$pid" 2>/dev/null' EXIT
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ $((SECONDS - start)) -ge $next ]; then
            printf '%s: at work for %d s; last in its log:%s\n' "$what" $((SECONDS - start)) "$(tail -n 1 "$log" | tr -s ' ' | cut -c 1-100)"
            next=$((next + 30))
        fi
    done
    wait "$pid" || status=$?
    trap - EXIT
    [ "$status" != 0 ] || printf '%s: done in %d s\n' "$what" $((SECONDS - start))
    return "$status"
}

# Installs uv, in the version that this file is written for, and ninja, which compiles on all cores.
install_uv() {
    local private=$PWD/.cache/uv-$UV_VERSION packages=("uv==$UV_VERSION" "ninja==$NINJA_VERSION")
    [ -x "$private/bin/uv" ] && [ -x "$private/bin/ninja" ] && return
    rm -rf "$private"
    if "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; then
        "$PYTHON" -m venv "$private" && "$private/bin/python" -m pip install --quiet "${packages[@]}"
    elif "$PYTHON" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m pip install --quiet --target "$private" "${packages[@]}"
    fi
    [ -x "$private/bin/uv" ] && [ -x "$private/bin/ninja" ] ||
        fail "$PYTHON has neither venv nor pip to install uv and ninja with; on Debian, venv is in python3-venv"
}

PYTHON=$(command -v "${PYTHON:-python3}") || fail 'Python >= 3.10 is needed: there is no python3; PYTHON=... names another'
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$PYTHON is $("$PYTHON" --version), and >= 3.10 is needed; PYTHON=... names another"
command -v c++ >/dev/null || command -v g++ >/dev/null || fail 'a C++ compiler is needed: there is no c++ or g++'
"$PYTHON" -c 'import os, sysconfig; header = os.path.join(sysconfig.get_path("include"), "Python.h"); exit(not os.path.exists(header))' ||
    fail "$PYTHON lacks its C headers (Python.h); on Debian they are in python3-dev"

unset VIRTUAL_ENV
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_PROJECT_ENVIRONMENT=.venv
# Where Python is told to write no bytecode, each process would compile the libraries anew, which takes seconds.
export UV_COMPILE_BYTECODE=1
# mmcv's ops are built for the CPU even if there is a GPU, because nvcc may be missing or not match torch's CUDA version.
sync=(env -u VIL_MM_BUILD_CUDA CUDA_VISIBLE_DEVICES= "$PWD/.cache/uv-$UV_VERSION/bin/uv" sync --all-extras --python "$PYTHON")
mkdir -p .cache
install_uv
echo 'Setting up .venv. The first time, mmcv builds its ops, for about 13 minutes on 2 cores; later it is cached.'
# First try only the cache: with some indexes, uv rebuilds what it has built before.
if ! run_with_heartbeat 'setup from the cache' .cache/setup.log "${sync[@]}" --offline &&
    ! run_with_heartbeat 'setup (the long part is the build of mmcv)' .cache/setup.log "${sync[@]}"; then
    tail -n 40 .cache/setup.log >&2
    fail 'the setup failed; the whole log is .cache/setup.log'
fi
VENV_PYTHON=$PWD/.venv/bin/python

# CUDA code is compiled if nvcc is installed; if there is no GPU, for one architecture only, which takes less time.
build=(env "PATH=$PWD/.cache/uv-$UV_VERSION/bin:$PATH")
nvidia-smi >/dev/null 2>&1 || build+=("TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-9.0}")
if ! run_with_heartbeat 'build of the extension' .cache/build.log "${build[@]}" "$VENV_PYTHON" setup.py build_ext --inplace; then
    tail -n 40 .cache/build.log >&2
    fail 'the build of the extension failed; the whole log is .cache/build.log'
fi
