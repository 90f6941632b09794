#!/usr/bin/env bash
# Set up, then run the tests. Arguments go to pytest; --slow runs the long ones too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/setup_env.sh
source tools/setup_env.sh
# One process per core, each with one thread, because most tests are too small for two.
export OMP_NUM_THREADS=1
exec "$VENV_PYTHON" -m pytest -n auto --maxprocesses 4 --dist worksteal "$@"
