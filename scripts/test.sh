#!/bin/sh
# Installs what is missing, checks the code, then runs the tests of a layer.
#   npm run test:fast            what needs no server and no guest, beside the code
#   npm test                     that, and a slice of everything else
#   npm run test:all             that, and what takes hours: tests named *.night.test.ts
#   npm test -- FILE...          only these test files, without the check
#   npm test -- --OPTION...      options for `node --test`, on the test files of the layer
# All that the tests start and mount is gone afterwards, however they end.
set -eu

# Debian packages that tests start or call. Tests whose package is missing fail; none is skipped.
debian_packages='attr acl libcap2-bin e2fsprogs radosgw ceph-mon ceph-osd ceph-common
  qemu-utils qemu-system-x86 qemu-guest-agent nbdkit libnbd-bin python3-libnbd gnutls-bin
  libvhdi-utils fuse3 dosfstools mtools exfatprogs gdisk fdisk lvm2 xfsprogs btrfs-progs ntfs-3g exfat-fuse
  cryptsetup-bin libvirt-daemon libvirt-daemon-system libvirt-clients busybox-static ovmf swtpm swtpm-tools grub-pc-bin grub-common linux-image-cloud-amd64 cpio kmod'

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

# The tests get a folder for temporary files of their own. Whatever names it when this shell has ended,
# and with it the open end of the pipe, is cleaned up (clean-up-after.sh).
begin_cleaning() {
  run=$(mktemp -d "${TMPDIR:-/tmp}/ct-XXXXXX")
  chmod 1777 "$run"
  mkfifo "$run/.open-while-tests-run"
  setsid sh scripts/clean-up-after.sh <"$run/.open-while-tests-run" >/dev/null 2>&1 &
  cleaner=$!
  exec 9>"$run/.open-while-tests-run"
  printf '%s\n' "$run" >&9
}

end_cleaning() {
  exec 9>&-
  wait "$cleaner" || true
}

# Compiled code is kept between runs; compiling is not what is tested. One file more than there are
# processors, since tests of guests wait a lot.
run_tests() {
  TMPDIR=$run NODE_COMPILE_CACHE=$root/node_modules/.cache/compiled \
    node_modules/.bin/node --disable-warning=ExperimentalWarning --test \
    --test-concurrency="$(($(nproc) + 1))" --test-timeout="$time_limit_ms" --test-force-exit \
    --test-reporter=spec --test-reporter-destination=stdout "$@" 9>&-
}

# The one limit of time that most tests have; only what hangs reaches it. A test that fails may leave
# behind what would keep its process, and so the run, alive for ever: hence --test-force-exit.
time_limit_ms=$((25 * 60 * 1000))
layer=day
case ${1:-} in
  --layer=*)
    layer=${1#--layer=}
    shift
    ;;
esac

# Sets $only_files when an argument is not an option.
only_files=
for argument in "$@"; do
  case $argument in
    -*) ;;
    *) only_files=yes ;;
  esac
done
if [ -z "$only_files" ]; then
  case $layer in
    fast) set -- "$@" '{packages,apps,bench}/**/!(*.live|*.night).test.ts' 'tests/!(*.live|*.night).test.ts' ;;
    day) set -- "$@" '{packages,apps,bench,tests}/**/!(*.night).test.ts' ;;
    all) set -- "$@" '{packages,apps,bench,tests}/**/*.test.ts' ;;
    *)
      say "no layer of that name: $layer"
      exit 2
      ;;
  esac
fi
[ "$layer" != all ] || time_limit_ms=$((12 * 60 * 60 * 1000))

installed_for_tests "$root" || sh scripts/install.sh --dev
install_debian_packages

check_status=0
if [ -z "$only_files" ]; then
  npm run --silent check || check_status=$?
fi

begin_cleaning
test_status=0
run_tests "$@" || test_status=$?
end_cleaning

if [ "$check_status" -ne 0 ]; then
  say 'the check (types, lint or format) failed; see above the tests'
  exit "$check_status"
fi
exit "$test_status"
