#!/bin/sh
# Cleans up after tests, however they ended. The first line of its input names a folder. At the end of
# its input, which comes with the end of whoever writes to it, each process that names the folder in
# its environment or on its command line is killed, what is mounted in the folder is unmounted, and
# the folder is removed.
#
# Start it with `setsid` (or detached), or what interrupts the tests ends it before its work begins.
set -u

IFS= read -r folder || exit 0
cat >/dev/null

# The folder is an input of grep: on its command line, grep would find itself.
processes() {
  printf '%s\n' "$folder" | grep -lsaF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline |
    cut -d / -f 3 | sort -un
}

# The innermost come first. Spaces in names are octal numbers, which `%b` understands.
mounts() {
  cut -d ' ' -f 2 /proc/self/mounts | sort -r | while read -r name; do
    path=$(printf '%b' "$name")
    case $path in "$folder"/*) printf '%s\n' "$path" ;; esac
  done
}

loop_devices() {
  losetup -n -l -O NAME,BACK-FILE 2>/dev/null | grep -F " $folder/" | cut -d ' ' -f 1
}

# A process may have started another one meanwhile.
round=0
while ended=$(processes) && [ -n "$ended" ] && [ $round -lt 100 ]; do
  # shellcheck disable=SC2086
  kill -9 $ended 2>/dev/null
  sleep 0.05
  round=$((round + 1))
done
mounts | while IFS= read -r path; do
  umount -l "$path" 2>/dev/null || fusermount3 -uqz "$path"
done
loop_devices | while read -r device; do losetup -d "$device"; done
# What was killed may still be writing.
round=0
until rm -rf "$folder" 2>/dev/null || [ $round -ge 50 ]; do
  sleep 0.1
  round=$((round + 1))
done
