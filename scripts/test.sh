#!/bin/sh
# npm test: installs what is missing, checks the code, then runs the tests.
#   npm test                     everything
#   npm test -- FILE...          only these test files, without the check
#   npm test -- --OPTION...      options for `node --test`, on all test files
set -eu

# Debian packages that tests start or call. Tests whose package is missing fail; none is skipped.
debian_packages='attr acl libcap2-bin e2fsprogs radosgw ceph-mon ceph-osd ceph-common
  qemu-utils qemu-system-x86 qemu-guest-agent nbdkit libnbd-bin python3-libnbd gnutls-bin
  libvhdi-utils fuse3 dosfstools mtools exfatprogs exfat-fuse gdisk fdisk lvm2 xfsprogs btrfs-progs ntfs-3g
  cryptsetup-bin libvirt-daemon libvirt-clients busybox-static ovmf swtpm swtpm-tools grub-pc-bin grub-common linux-image-cloud-amd64 cpio kmod'

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
. scripts/installed.sh

say() { printf 'npm test: %s\n' "$*" >&2; }

missing_debian_packages() {
  for package in $debian_packages; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      printf '%s ' "$package"
  done
}

install_debian_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    say "not Debian: cannot tell whether these are here: $debian_packages"
    return
  fi
  missing=$(missing_debian_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -eq 0 ]; then
    say "installing Debian packages: $missing"
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq -o DPkg::Lock::Timeout=600 --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
      tail -n 20 "$log" >&2
    fi
    rm -f "$log"
    missing=$(missing_debian_packages)
  fi
  [ -z "$missing" ] || say "MISSING, TESTS THAT NEED THEM WILL FAIL: apt-get install $missing"
}

# Sets $only_files when an argument is not an option.
only_files=
for argument in "$@"; do
  case $argument in
    -*) ;;
    *) only_files=yes ;;
  esac
done
[ -n "$only_files" ] ||
  set -- "$@" 'packages/**/*.test.ts' 'apps/**/*.test.ts' 'tests/**/*.test.ts' 'bench/**/*.test.ts'

installed_for_tests "$root" || sh scripts/install.sh --dev
install_debian_packages

check_status=0
if [ -z "$only_files" ]; then
  npm run --silent check || check_status=$?
fi

# A test that fails may leave behind what would keep its process, and so the run, alive for ever.
test_status=0
node_modules/.bin/node --disable-warning=ExperimentalWarning --test \
  --test-concurrency="$(nproc)" --test-timeout=900000 --test-force-exit \
  --test-reporter=spec --test-reporter-destination=stdout "$@" || test_status=$?

if [ "$check_status" -ne 0 ]; then
  say 'the check (types, lint or format) failed; see above the tests'
  exit "$check_status"
fi
exit "$test_status"
