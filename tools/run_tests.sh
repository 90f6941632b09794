#!/usr/bin/env bash
# Set up, then run the tests. Arguments go to pytest; --slow runs the long ones too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/setup_env.sh
source tools/setup_env.sh
exec "$VENV_PYTHON" -m pytest "$@"
