# shellcheck shell=bash
# What the scripts share: the virtual environment, Debian packages, progress. Sourced, never run.
# Everything it says goes to standard error, so that the output of a command stays the command's own.
set -euo pipefail

top=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv="$top/.venv"
cache="$top/.cache"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$@" >&2; } # a line for each argument
fail() {
  say "$@"
  exit 2
}

# counted LABEL PATTERN: copies its input to the log and shows how many lines of it match.
counted() {
  local label=$1 pattern=$2 line count=0
  while IFS= read -r line; do
    printf '%s\n' "$line"
    if [[ $line =~ $pattern ]]; then
      count=$((count + 1))
      if [ -t 2 ]; then
        printf '\r  %s: %d ' "$label" "$count" >&2
      elif [ $((count % 20)) = 0 ]; then
        say "  $label: $count"
      fi
    fi
  done
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}

# logged LOG LABEL PATTERN COMMAND...: runs it quietly with counted progress; shows the log's end if it fails.
logged() {
  local log=$1 label=$2 pattern=$3
  shift 3
  mkdir -p -- "$(dirname -- "$log")"
  if ! "$@" 2>&1 </dev/null | counted "$label" "$pattern" >"$log"; then
    say "failed: $*" "" "$(tail -n 15 -- "$log")" "" "the whole log: $log"
    exit 1
  fi
}

# --- Debian packages -------------------------------------------------------------------------------------

_services_kept_off=""
_let_services_start() {
  if [ -n "$_services_kept_off" ]; then rm -f -- "$_services_kept_off"; fi
  _services_kept_off=""
}

# debian PACKAGE...: installs what is missing of them, as root; otherwise says the command and exits with 2.
# Services in them are not started: the tests start their own, on their own ports.
debian() {
  local package missing=()
  for package in "$@"; do
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then
      missing+=("$package")
    fi
  done
  if [ ${#missing[@]} = 0 ]; then return; fi
  if ! command -v apt-get >/dev/null; then
    fail "This needs what Debian calls: ${missing[*]}. Install it with your system's package manager."
  fi
  if [ "$(id -u)" != 0 ]; then
    fail "This needs Debian packages that only root can install. Run this, then start again:" "" \
      "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
  say "installing Debian packages: ${missing[*]}"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  logged "$cache/apt-update.log" "package lists" '^(Get|Hit)' "${apt[@]}" update
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    _services_kept_off=/usr/sbin/policy-rc.d
    trap _let_services_start EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  logged "$cache/apt-install.log" "unpacked and set up" '^(Unpacking|Setting up)' \
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
  _let_services_start
}

need_venv_module() {
  command -v python3 >/dev/null || debian python3
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "gated needs Python 3.11 or newer; python3 here is $(python3 -V 2>&1)."
  python3 -c 'import ensurepip, venv' 2>/dev/null || debian python3-venv
}

# --- the virtual environment -----------------------------------------------------------------------------

_wanted() { # what the environment was made of: one line
  { cat -- "$top/$1" "$top/pyproject.toml" && readlink -f -- "$(command -v python3)" && printf '%s\n' "$top"; } |
    sha256sum | cut -d' ' -f1
}

_stamped() { # _stamped LEVEL LOCK: is the environment ready for it?
  [ "$(cat -- "$venv/.ready-$1" 2>/dev/null || true)" = "$(_wanted "$2")" ]
}

# environment run|dev: makes or brings up to date $venv: what runs the daemon and the demo, or that and the
# tools. Quick if nothing changed; two at once wait for each other; stopped half-way it goes on next time.
environment() {
  local level=$1 lock=requirements-run.lock
  if [ "$level" = dev ]; then lock=requirements.lock; fi
  command -v python3 >/dev/null || need_venv_module
  if _stamped "$level" "$lock"; then return; fi
  if [ "$level" = run ] && _stamped dev requirements.lock; then return; fi
  if [ "$(id -u)" != 0 ]; then need_venv_module; fi # says what root must do, before anything is begun
  mkdir -p -- "$cache"
  exec 9>"$cache/set-up.lock"
  if ! flock -n 9; then
    say "another set-up of this checkout is running: waiting for it"
    flock 9
  fi
  if ! _stamped "$level" "$lock"; then
    need_venv_module
    _install "$level" "$lock"
  fi
  exec 9>&-
}

_install() {
  local level=$1 lock=$2 started=$SECONDS
  say "setting up ${venv#"$PWD"/} (once; the log is in ${cache#"$PWD"/}/pip.log)"
  rm -f -- "$venv"/.ready-*
  # a copied or moved checkout, or another Python: its scripts would start the wrong interpreter
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
    ! grep -qsF -- "$venv/bin/python" "$venv/bin/pip" ||
    [ "$("$venv/bin/python" -c 'import sys; print(sys.version_info[:2])')" != "$(python3 -c 'import sys; print(sys.version_info[:2])')" ]; then
    rm -rf -- "$venv"
    python3 -m venv "$venv"
  fi
  local pip=("$venv/bin/python" -m pip --no-input)
  logged "$cache/pip.log" "packages of $(grep -c '^[A-Za-z].*==' "$top/$lock")" '^(Collecting|Processing|Requirement already)' \
    "${pip[@]}" install --progress-bar off --require-hashes --no-deps -r "$top/$lock"
  logged "$cache/pip-self.log" "gated" '^$' \
    "${pip[@]}" install --progress-bar off --no-deps --no-build-isolation -e "$top"
  _wanted "$lock" >"$venv/.ready-$level.new"
  mv -- "$venv/.ready-$level.new" "$venv/.ready-$level"
  say "set up in $((SECONDS - started)) s"
}
