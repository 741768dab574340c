#!/bin/sh
# Makes .venv, or brings it up to date. Contents decide, not dates: .venv/.complete, written last, has what the packages
# were installed from. Python's own pyvenv.cfg names the folder and the version that .venv was made in and with.
set -eu
cd "$(dirname "$0")/.."
cd "$(pwd -P)"
number='import sys; print(*sys.version_info[:3], sep=".")'
enough='import sys; sys.exit(sys.version_info < (3, 11))'

fits() { # a copied or moved .venv would run the library of another folder
  version=$(.venv/bin/python -c "$number" 2> /dev/null) && .venv/bin/python -c "$enough" &&
    grep -qxF "version = $version" .venv/pyvenv.cfg && grep -qF -- "-m venv $PWD/.venv" .venv/pyvenv.cfg
}
state() { echo "$PWD $version" && cat pyproject.toml constraints.txt; }

if fits; then
  [ "$(cat .venv/.complete 2> /dev/null)" = "$(state)" ] && exit 0
else
  found=none
  for python in python3.11 python3.12 python3.13 python3 ""; do
    [ -n "$python" ] || { echo "make: needs Python 3.11 or newer; found $found. Install it and run again." >&2; exit 1; }
    version=$("$python" -c "$number" 2> /dev/null) || continue
    "$python" -c "$enough" && break
    found="$python $version"
  done
  echo "making .venv with $python $version; the first time its packages are downloaded, which takes some minutes"
  rm -rf .venv
  "$python" -m venv .venv
fi
rm -f .venv/.complete # a half-made environment does not count
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,test,dev]"
state > .venv/.complete
