#!/usr/bin/env bash
# Make .venv/ in the repository root and install the package into it, editable, with all extras.
set -euo pipefail
cd "$(dirname "$0")/.."

# A .venv that works stays, unless another interpreter is asked for by name.
usable() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    [ -z "${PYTHON:-}" ] || [ "$(origin "$PYTHON")" = "$(origin .venv/bin/python)" ]
}

origin() { "$1" -c 'import sys; print(sys.version, sys.base_prefix)'; }

if ! usable; then
    python=$(scripts/find-python.sh)
    echo "Making .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv
fi

echo "Installing sscha-mlp and what it needs into .venv (a few minutes the first time:" \
    "python-sscha and CellConstructor are compiled)"
mkdir -p build
log=build/install.log
if ! PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install --no-input --progress-bar off \
    --editable '.[dev,dask,docs,notebooks]' >"$log" 2>&1 </dev/null; then
    tail -n 40 "$log" >&2
    cat >&2 <<TEXT

pip could not install the packages; its last lines are above, all of it is in $log.
- No network, or a proxy: set PIP_INDEX_URL (or PIP_PROXY), or PIP_FIND_LINKS and PIP_NO_INDEX=1 for a folder
  of wheels, and run make again: what was finished is kept in pip's cache.
- A compiler error in python-sscha or cellconstructor: scripts/install-system.sh checks what they need.
TEXT
    exit 1
fi
.venv/bin/python - <<'TEXT'
import platform
from importlib.metadata import version

names = ("sscha-mlp", "python-sscha", "cellconstructor", "quippy-ase", "ase", "numpy")
print(f"Ready: Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in names))
TEXT
