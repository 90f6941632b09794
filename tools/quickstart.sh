#!/usr/bin/env bash
# Set up, then train a small ViL on handwritten digits and show what it learned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/setup_env.sh
source tools/setup_env.sh
exec "$VENV_PYTHON" tools/quickstart.py "$@"
