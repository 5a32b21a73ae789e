#!/usr/bin/env bash
# Print the newest Python from 3.11 to 3.13 that runs. $PYTHON, where set, is the only candidate.
# A name on the PATH is not enough: pyenv puts shims there for versions that it does not run.
set -euo pipefail

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1 </dev/null
}

if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
else
    candidates=(python3.13 python3.12 python3.11 python3 python /usr/bin/python3)
fi
for candidate in "${candidates[@]}"; do
    if suitable "$candidate"; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
echo "No Python from 3.11 to 3.13 runs here (tried: ${candidates[*]})." \
    "Install one, or name it: make install PYTHON=/path/to/python3.11" >&2
exit 1
