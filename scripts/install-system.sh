#!/usr/bin/env bash
# Make sure that python-sscha and CellConstructor can be compiled: a Fortran and a C compiler, BLAS and
# LAPACK, the headers of Python. What is missing is installed with apt where this user may do so;
# elsewhere a sentence says what to install. Tests abilities, not package names: a compiler from a
# module system or from conda is as good as Debian's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
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

python_can() { "$python" -c "$1" >/dev/null 2>&1; }

# Debian names of what is missing, into the array `missing`.
look() {
    missing=()
    command -v gfortran >/dev/null || missing+=(gfortran)
    c_compiles || missing+=(gcc libc6-dev)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    blas_found blas dgemm || missing+=(libopenblas-dev)
    blas_found lapack dsyev || missing+=(liblapack-dev)
    if ! python=$("$here/find-python.sh" 2>/dev/null); then
        missing+=(python3 python3-venv python3-dev)
        return
    fi
    local version
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    python_can 'import ensurepip, venv' || missing+=("$version-venv")
    python_can 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' ||
        missing+=("$version-dev")
}

say_what_to_install() {
    echo "These are needed to compile python-sscha and CellConstructor, and are missing: ${missing[*]}" \
        "(names of Debian's packages). $1" >&2
}

look
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    say_what_to_install "Ask for 'sudo apt-get install ${missing[*]}', or load them from your module system, then run make again."
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    say_what_to_install "There is no apt-get here: install their counterparts with this system's package manager, then run make again."
    exit 1
fi

echo "Installing system packages: ${missing[*]}"
quietly=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
install=("${as_root[@]}" "${quietly[@]}" install --no-install-recommends "${missing[@]}")
if ! { "${as_root[@]}" "${quietly[@]}" update && "${install[@]}"; } >"$scratch/apt.log" 2>&1 </dev/null; then
    tail -n 20 "$scratch/apt.log" >&2
    say_what_to_install "apt-get could not install them (its last words are above): is there a network, and a package source?"
    exit 1
fi
look
if [ ${#missing[@]} -ne 0 ]; then
    say_what_to_install "apt-get installed its packages and they are still not found: is another compiler or pkg-config first on the PATH?"
    exit 1
fi
