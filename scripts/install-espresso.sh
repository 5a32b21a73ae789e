#!/usr/bin/env bash
# Make sure that pw.x of Quantum ESPRESSO and the pseudopotentials of Debian's package are there; with
# apt where this user may install, elsewhere with a sentence that says what to install.
set -euo pipefail
pseudo=${ESPRESSO_PSEUDO:-/usr/share/espresso/pseudo}/Si.pz-vbc.UPF

look() {
    missing=()
    command -v pw.x >/dev/null || missing+=(quantum-espresso)
    [ -f "$pseudo" ] || missing+=(quantum-espresso-data)
}

say_what_to_install() {
    echo "Calculations with Quantum ESPRESSO need ${missing[*]} (names of Debian's packages: pw.x, and $pseudo). $1" >&2
    exit 1
}

look
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    say_what_to_install "Ask for 'sudo apt-get install ${missing[*]}', or put your own pw.x on the PATH and set ESPRESSO_PSEUDO."
fi
command -v apt-get >/dev/null ||
    say_what_to_install "There is no apt-get here: put your own pw.x on the PATH and set ESPRESSO_PSEUDO."

echo "Installing system packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
install=("${as_root[@]}" "${quietly[@]}" install --no-install-recommends "${missing[@]}")
if ! { "${as_root[@]}" "${quietly[@]}" update && "${install[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    say_what_to_install "apt-get could not install them (its last words are above)."
fi
look
[ ${#missing[@]} -eq 0 ] || say_what_to_install "apt-get installed its packages and they are still not found."
