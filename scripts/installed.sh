# Sourced. `installed ROOT` succeeds when node_modules holds what package-lock.json asks for.
#
# npm writes node_modules/.package-lock.json last, so its absence means an unfinished installation.
# install.sh then keeps a copy of the lock file. The copy is compared by content, because an update
# may bring files with old times. Where npm was run by hand there is no copy, or an older one, and
# the times decide.
installed() {
  npm_record=$1/node_modules/.package-lock.json
  copy=$1/node_modules/.coffer-package-lock.json
  [ -x "$1/node_modules/.bin/node" ] && [ -e "$npm_record" ] || return 1
  cmp -s "$1/package-lock.json" "$copy" && return 0
  [ ! -e "$copy" ] || [ "$npm_record" -nt "$copy" ] || return 1
  ! [ "$1/package-lock.json" -nt "$npm_record" ]
}

# `installed_for_tests ROOT` also asks for the tools that check and test the code.
installed_for_tests() {
  installed "$1" && [ -d "$1/node_modules/typescript" ] && [ -d "$1/node_modules/oxlint" ]
}
