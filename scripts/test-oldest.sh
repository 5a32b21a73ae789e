#!/usr/bin/env bash
# Run a fast part of the tests with the lowest versions that pyproject.toml allows, in an environment of its own
# (build/oldest). The test tools are those of today.
set -euo pipefail
cd "$(dirname "$0")/.."
place=build/oldest
mkdir -p build
python=$(PYTHON=${PYTHON:-python3.11} scripts/find-python.sh 2>/dev/null || scripts/find-python.sh)
[ -x $place/bin/python ] || "$python" -m venv $place
.venv/bin/python - >$place/constraints.txt <<'TEXT'
import re
import tomllib

with open("pyproject.toml", "rb") as stream:
    project = tomllib.load(stream)["project"]
for line in project["dependencies"]:
    name, lowest = re.match(r"([\w.-]+)>=([\w.]+)", line).groups()
    print(f"{name}=={lowest}")
TEXT
echo "Installing the oldest versions that are allowed: $(tr '\n' ' ' <$place/constraints.txt)"
log=build/oldest.log
if ! PIP_DISABLE_PIP_VERSION_CHECK=1 $place/bin/python -m pip install --no-input --progress-bar off --only-binary :all: \
    --constraint $place/constraints.txt --editable . pytest pytest-timeout >"$log" 2>&1 </dev/null; then
    tail -n 40 "$log" >&2
    echo "pip could not install them; all of what it said is in $log." >&2
    exit 1
fi
tests=(active_set cfg convert crystal dataset dyn_files ensemble estimators_dense house metrics mtp_files mtp_linear
    pool polar qspace report_layout scha settings shown store subgroups)
files=("${tests[@]/#/tests/test_}")
$place/bin/python -m pytest -q "${files[@]/%/.py}" "$@"
