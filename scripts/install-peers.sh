#!/usr/bin/env bash
# Install the other codes that `make bench` compares with into .venv/; nothing else needs them.
set -euo pipefail
cd "$(dirname "$0")/.."

motep=motep==0.2.0
pypolymlp=pypolymlp==0.22.1
eigen=cmeel-eigen==3.4.1

python=${PEERS_PYTHON:-.venv/bin/python}
mkdir -p build
log=build/install-peers.log
pip() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --no-input --progress-bar off "$@" >>"$log" 2>&1 </dev/null
}
fail() {
    tail -n 30 "$log" >&2
    printf '\n%s could not be installed; its last lines are above, all of it is in %s.\n' "$1" "$log" >&2
    printf 'The benchmarks run without it.\n' >&2
    exit 1
}
: >"$log"

pip "$motep" || fail motep

# pypolymlp comes as source alone and looks for the headers of Eigen; they are needed only while it
# is built, so they stay out of .venv.
if ! "$python" -c 'import pypolymlp' 2>/dev/null; then
    echo "Compiling pypolymlp (a few minutes; needs g++)"
    headers=$PWD/build/eigen
    rm -rf "$headers"
    pip --no-deps --target "$headers" "$eigen" || fail Eigen
    CMAKE_PREFIX_PATH=$headers/cmeel.prefix pip "$pypolymlp" || fail pypolymlp
fi
"$python" - <<'TEXT'
from importlib.metadata import version

print("Ready:", ", ".join(f"{name} {version(name)}" for name in ("motep", "pypolymlp")))
TEXT
