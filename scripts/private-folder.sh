# private_folder FOLDER: makes it, or takes one that is there, for this user alone; fails when it is not
# ours, or when another user could put something else in its place. apps/cli/private-folder.ts says the
# same; here it is asked before there is a Node.
private_folder() {
  (umask 077 && mkdir -p -- "$1") 2>/dev/null || return 1
  private_path=$(CDPATH='' cd -- "$1" 2>/dev/null && pwd -P) || return 1
  [ -O "$private_path" ] && chmod 700 -- "$private_path" 2>/dev/null || return 1
  private_self=$(id -u)
  set --
  while [ -n "$private_path" ]; do
    private_path=${private_path%/*}
    set -- "$@" "$private_path/"
  done
  stat -c '%u %g %a' -- "$@" | while read -r owner group mode; do
    [ "$owner" = "$private_self" ] || [ "$owner" = 0 ] || exit 1
    # Sticky: only the owner of a file can replace it.
    [ $((0$mode & 01000)) -eq 0 ] || continue
    [ $((0$mode & 02)) -eq 0 ] || exit 1
    # By the convention of Linux, a group of one user has his number.
    [ $((0$mode & 020)) -eq 0 ] || [ "$group" = "$owner" ] || [ "$group" = "$private_self" ] || exit 1
  done
}
