#!/bin/sh
# Makes .venv, or brings it up to date. Contents decide, not dates: .venv/.made names the folder and the Python that it
# was made in and with, and .venv/.complete, written last, has besides what the packages were installed from.
set -eu
cd "$(dirname "$0")/.."

identity() {
  pwd -P
  .venv/bin/python -c 'import sys; assert sys.version_info >= (3, 11); print(sys.base_prefix, *sys.version_info[:3])' 2> /dev/null
}
complete() { echo "$here" && cat pyproject.toml constraints.txt; }

if here=$(identity) && [ "$(cat .venv/.made 2> /dev/null)" = "$here" ]; then
  [ "$(cat .venv/.complete 2> /dev/null)" = "$(complete)" ] && exit 0
else
  found=none
  for python in python3.11 python3.12 python3.13 python3 ""; do
    [ -n "$python" ] || { echo "make: needs Python 3.11 or newer; found $found. Install it and run again." >&2; exit 1; }
    version=$("$python" -c 'import sys; print(*sys.version_info[:3], sep=".")' 2> /dev/null) || continue
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && break
    found="$python $version"
  done
  echo "making .venv with $python $version; the first time its packages are downloaded, which takes some minutes"
  rm -rf .venv
  "$python" -m venv .venv
  here=$(identity)
  echo "$here" > .venv/.made
fi
rm -f .venv/.complete # a half-made environment does not count
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,test,dev]"
complete > .venv/.complete
