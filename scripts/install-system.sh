#!/usr/bin/env bash
# Make sure that this system has what an installation needs:
#   install-system.sh python     a Python with venv
#   install-system.sh compilers  what compiles python-sscha and CellConstructor: a Fortran and a C compiler, BLAS and
#                                LAPACK, the headers of Python
# What is missing is installed with apt where this user may do so; elsewhere one sentence says what to install. Tests
# abilities, not package names: a compiler from a module system or from conda is as good as Debian's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
what=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

c_compiles() {
    command -v cc >/dev/null || return 1
    printf '#include <stdio.h>\nint main(void) { return 0; }\n' >"$scratch/probe.c"
    cc "$scratch/probe.c" -o "$scratch/probe" >/dev/null 2>&1
}

blas_found() { # meson asks pkg-config first and then tries to link
    pkg-config --exists "$1" 2>/dev/null && return 0
    command -v gfortran >/dev/null || return 1
    printf '      external %s\n      call %s()\n      end\n' "$2" "$2" >"$scratch/probe.f"
    gfortran "$scratch/probe.f" -o "$scratch/probe" "-l$1" >/dev/null 2>&1
}

version_of() { "$1" -c 'import sys; print("python%d.%d" % sys.version_info[:2])'; }

look_for_python() {
    local python
    if ! python=$("$here/find-python.sh" 2>/dev/null); then
        # A PYTHON that was asked for and does not serve is for find-python.sh to name.
        [ -n "${PYTHON:-}" ] || missing+=(python3 python3-venv)
        return
    fi
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=("$(version_of "$python")-venv")
}

look_for_compilers() {
    local python=.venv/bin/python
    command -v gfortran >/dev/null || missing+=(gfortran)
    c_compiles || missing+=(gcc libc6-dev)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    blas_found blas dgemm || missing+=(libopenblas-dev)
    blas_found lapack dsyev || missing+=(liblapack-dev)
    "$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' >/dev/null 2>&1 ||
        missing+=("$(version_of "$python")-dev")
}

# Debian names of what is missing, into the array `missing`.
look() {
    missing=()
    "look_for_$what"
}

give_up() {
    local purpose="to make .venv"
    [ "$what" = compilers ] && purpose="to compile python-sscha and CellConstructor"
    echo "missing $purpose: ${missing[*]} (Debian's names); $1" >&2
    exit 1
}

look
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    give_up "ask for 'sudo apt-get install ${missing[*]}' or load them from your module system, then run make install again."
fi
command -v apt-get >/dev/null ||
    give_up "there is no apt-get here: install them with this system's package manager, then run make install again."

echo "      with apt-get: ${missing[*]}"
quietly=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
install=("${as_root[@]}" "${quietly[@]}" install --no-install-recommends "${missing[@]}")
if ! { "${as_root[@]}" "${quietly[@]}" update && "${install[@]}"; } >"$scratch/apt.log" 2>&1 </dev/null; then
    give_up "apt-get could not install them ($(grep -E '^(E|W):' "$scratch/apt.log" | tail -n 1)): is there a network, and a package source?"
fi
look
[ ${#missing[@]} -eq 0 ] ||
    give_up "apt-get installed them and they are still not found: is another compiler or pkg-config first on the PATH?"
