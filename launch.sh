#!/usr/bin/env bash
# ./launch.sh                                  trains DDPM on real digits and shows its samples
# ./launch.sh experiments/vae.py:mnist FLAGS   trains that experiment; flags go to jaxgen.main
# ./launch.sh --mode=sample --workdir=...      any other command line of jaxgen.main
# ./launch.sh test [FLAGS]                     runs the tests; flags go to pytest
# ./launch.sh experiments/vae.py --help        lists all options and fields
# ./launch.sh --help                           prints these lines, and installs nothing
# Makes .venv beside this file on first use, from requirements.txt.
# Several processes train one model where srun or mpirun starts this, or where each is started with
# --coordinator=HOST:PORT --num_processes=N --process_id=0...N-1
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$here/.venv
case ${1:-} in
  -h | --help)
    sed -n '2,/^set /s/^# //p' "${BASH_SOURCE[0]}"
    exit
    ;;
esac
say() { printf '\033[1m%s\033[0m\n' "launch: $*" >&2; }
[ -t 2 ] || say() { printf 'launch: %s\n' "$*" >&2; }

find_python() {
  local python
  for python in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
      echo "$python" && return
  done
  say 'no Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python ./launch.sh'
  exit 1
}

# The CUDA version that the driver supports decides which of JAX's wheels can run.
accelerator() {
  command -v nvidia-smi >/dev/null || { echo cpu; return; }
  local cuda
  cuda=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: \([0-9]*\).*/\1/p' | head -n 1)
  case ${cuda:-0} in
    1[3-9] | [2-9]?) echo cuda13 ;;
    12) echo cuda12 ;;
    *) echo cpu ;;
  esac
}

install() {
  local stamp=$venv/.installed wheels wanted python
  wheels=$(accelerator)
  wanted="$wheels $(cksum <"$here/requirements.txt")"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    say "using $venv ($wheels)"
    return
  fi
  python=$(find_python)
  say "installing into $venv with $("$python" --version) and JAX for $wheels (a few minutes)"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  if [ "$wheels" != cpu ]; then
    local jax
    jax=$(sed -n 's/^jax==//p' "$here/requirements.txt")
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "jax[$wheels]==$jax"
  fi
  echo "$wanted" >"$stamp"
}

run() { "$venv/bin/python" -m jaxgen.main "$@"; }

# One of several processes installs, and the others wait for it.
mkdir -p "$venv"
exec 9>"$venv/.lock"
! command -v flock >/dev/null || flock 9
install
exec 9>&-
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
case ${1:-} in
  test)
    shift
    cd "$here"
    say 'running the tests'
    exec "$venv/bin/python" -m pytest -n 2 --dist worksteal "$@"
    ;;
  '')
    cd "$here"
    workdir=runs/ddpm-digits-seed0
    say "training DDPM on 8x8 digits in $workdir (Ctrl-C saves; the same command resumes)"
    run --config=experiments/ddpm.py --workdir="$workdir"
    say 'drawing 100 samples'
    run --mode=sample --workdir="$workdir" --num_samples=100
    say "look at $here/$workdir/grid.png, or at everything with: tensorboard --logdir runs"
    ;;
  -*)
    run "$@"
    ;;
  *)
    experiment=$1
    shift
    # Experiments of this project are found from any folder; other files are taken as they are named.
    [ -f "${experiment%%:*}" ] || [ ! -f "$here/${experiment%%:*}" ] || experiment=$here/$experiment
    say "training $experiment"
    run --config="$experiment" "$@"
    ;;
esac
