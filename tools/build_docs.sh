#!/usr/bin/env bash
# Set up, then build the documentation into build/docs; a warning is an error. Arguments go to sphinx-build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/setup_env.sh
source tools/setup_env.sh
"$VENV_PYTHON" -m sphinx --fail-on-warning --keep-going --builder html docs build/docs "$@"
echo "The documentation is in $PWD/build/docs/index.html"
