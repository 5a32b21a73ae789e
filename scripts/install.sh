#!/usr/bin/env bash
# Install into .venv/ in the root of the repository:
#   install.sh command  what runs need: wheels alone, no compiler
#   install.sh tools    what tests, documentation and notebooks need: wheels as well
#   install.sh engine   python-sscha and CellConstructor, the second engine, which are compiled
# Each step says what it does, with its size and its time on two cores and a good network, and how long it took. All
# of what pip says is in build/install.log. Python compiles what it imports at the first start: pip need not compile all.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
log=build/install.log
export PIP_DISABLE_PIP_VERSION_CHECK=1

# Run pip, with a line about what it does every 20 s: a slow network is not taken for a hang.
pip_install() {
    .venv/bin/python -m pip install --no-compile --no-input --progress-bar off "$@" >"$log" 2>&1 </dev/null &
    local pid=$! waited=0 last
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        waited=$((waited + 1))
        if [ $((waited % 40)) -eq 0 ]; then
            last=$(grep -E '^ *(Collecting|Downloading|Using cached|Building|Installing|Preparing)' "$log" | tail -n 1 | sed 's/^ *//' | cut -c -60) || true
            echo "      $SECONDS s: ${last:-starting}"
        fi
    done
    wait "$pid"
}

install_wheels() {
    SECONDS=0
    if ! pip_install --editable "$1"; then
        tail -n 40 "$log" >&2
        cat >&2 <<TEXT

pip could not install the packages; its last lines are above, all of it is in $log.
No network, or a proxy? Set PIP_INDEX_URL (or PIP_PROXY), or PIP_FIND_LINKS and PIP_NO_INDEX=1 for a folder of
wheels, and run make again: what was finished is kept in pip's cache.
TEXT
        exit 1
    fi
    echo "      done in $SECONDS s"
}

origin() { "$1" -c 'import sys; print(sys.version, sys.base_prefix)'; }

# A .venv that works stays, unless another interpreter is asked for by name.
usable() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    [ -z "${PYTHON:-}" ] || [ "$(origin "$PYTHON")" = "$(origin .venv/bin/python)" ]
}

make_venv() {
    usable && return
    scripts/install-system.sh python
    local python
    python=$(scripts/find-python.sh)
    echo "1/4   .venv with $python (5 s)"
    rm -rf .venv
    "$python" -m venv .venv
}

has_engine() {
    .venv/bin/python -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("sscha") and u.find_spec("cellconstructor")))'
}

install_engine() {
    local reason
    SECONDS=0
    if ! reason=$(scripts/install-system.sh compilers 2>&1 >&3); then
        leave_out "$reason"
    elif ! pip_install --editable '.[python-sscha]' || ! has_engine; then
        leave_out "pip could not compile them; its last words are in $log."
    else
        echo "      done in $SECONDS s"
        touch .venv/.engine
    fi
} 3>&1

# Everything else works; only a run on which all tests must pass may not go on.
leave_out() {
    echo "      The second engine, python-sscha, and the tests that need it are left out: $1"
    [ -z "${CI:-}" ]
}

case $1 in
command)
    make_venv
    echo "2/4   The wheels of the command: NumPy, SciPy, numba, quippy, matplotlib, ... (170 MB, 40 s)"
    install_wheels .
    echo "      .venv/bin/sscha-mlp works now"
    ;;
tools)
    echo "3/4   The wheels of tests, documentation and notebooks (90 MB, 40 s)"
    install_wheels '.[dev,dask,docs,notebooks]'
    ;;
engine)
    echo "4/4   Compiling CellConstructor and python-sscha, the second engine (2 min)"
    install_engine
    ;;
esac
