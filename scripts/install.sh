#!/bin/sh
# Installs the packages that package-lock.json names: `install.sh` what running needs,
# `install.sh --dev` also what checking and testing needs.
# Of several started at once, one installs and the others wait for it.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
lock=$root/.coffer-install.lock
. "$root/scripts/installed.sh"

say() { printf 'coffer: %s\n' "$*" >&2; }
fail() {
  say "$@"
  exit 1
}

done_already=installed
omit=--omit=dev
# A developer's tools stay when an update needs another installation.
if [ "${1:-}" = --dev ] || [ -d "$root/node_modules/typescript" ]; then
  omit=--include=dev
fi
if [ "${1:-}" = --dev ]; then
  done_already=installed_for_tests
fi

case $(uname -s)/$(uname -m) in
  Linux/x86_64 | Linux/aarch64) ;;
  *) fail "runs on Linux on x86-64 and arm64; this is $(uname -s) on $(uname -m)" ;;
esac
command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 ||
  fail 'needs Node 20 or newer with npm, to install itself once; see https://nodejs.org'
node_version=$(node --version 2>/dev/null) || fail 'the installed node does not run'
node_major=${node_version#v}
[ "${node_major%%.*}" -ge 20 ] ||
  fail "needs Node 20 or newer to install itself; this is Node $node_version"
[ -w "$root" ] ||
  fail "cannot install in $root: not writable; run it once as a user who may write there"

# The lock is the kernel's, so that it ends with its holder, npm included, however that one ends.
exec 9>"$lock" || fail "cannot write $lock"
if ! flock -n 9; then
  say 'another start is installing; waiting for it'
  flock 9
fi
if $done_already "$root"; then
  exit 0
fi

say 'installing its packages, once (about a minute)'
cd "$root"
npm ci "$omit" --include=prod --include=optional --ignore-scripts \
  --no-audit --no-fund --no-progress --no-update-notifier --loglevel=error >/dev/null ||
  fail 'could not install its packages; the reason stands above'
node_modules/.bin/node --version >/dev/null ||
  fail 'the installed Node does not run here; it needs glibc 2.28 or newer'

# Renamed into place, so that a half-written copy is never taken for a whole one.
cp package-lock.json node_modules/.coffer-package-lock.json.tmp
mv node_modules/.coffer-package-lock.json.tmp node_modules/.coffer-package-lock.json
