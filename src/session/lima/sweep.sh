# Signals everything in this guest that belongs to a tool: what carries its mark in its
# environment, what descends from its starter, and what is in a session that one of these began.
# KILL is repeated until nothing is left, and what there was is named on stdout.
signal=$1 mark=$2 me=$$ round=0
while [ $round -lt 60 ]; do
  roots=' ' found=' ' sessions=' ' spared=' ' table=
  for file in $(grep -lF "DEVSHELL_TOOL_STARTER=$mark" /proc/[0-9]*/environ 2>/dev/null); do
    file=${file#/proc/}; roots="$roots${file%/*} "
  done
  for file in $(grep -lF "DEVSHELL_TOOL_MARK=$mark" /proc/[0-9]*/environ 2>/dev/null); do
    file=${file#/proc/}; found="$found${file%/*} "
  done
  for folder in /proc/[0-9]*; do
    { read -r line <"$folder/stat"; } 2>/dev/null || continue
    pid=${folder#/proc/}
    set -- ${line##*) }
    # Its own session holds what asks for the sweep: a tool's are others.
    [ "$pid" != $me ] || spared="$spared$4 "
    [ "$1" != Z ] && [ "$pid" != $me ] && [ "$2" != $me ] || continue
    table="$table$pid $2 $4
"
    case $roots in *" $pid "*) spared="$spared$4 ";; esac
  done
  again=1 alive=
  while [ $again = 1 ]; do
    again=0 alive=
    while read -r pid parent session; do
      [ -n "$pid" ] || continue
      case $roots in *" $pid "*) continue;; esac
      case $found in *" $pid "*) ;; *)
        case "$found$roots" in *" $parent "*) ;; *)
          case $sessions in *" $session "*) ;; *) continue;; esac;; esac
        found="$found$pid " again=1;; esac
      alive="$alive $pid"
      case "$sessions$spared" in *" $session "*) ;; *) sessions="$sessions$session " again=1;; esac
    done <<END
$table
END
  done
  [ -n "$alive" ] || exit 0
  if [ "$signal" = KILL ] && [ $round = 0 ]; then
    for pid in $alive; do
      printf 'survivor %s %s\n' "$pid" "$(tr '\000\n' '  ' 2>/dev/null <"/proc/$pid/cmdline")"
    done
  fi
  kill -"$signal" $alive 2>/dev/null || sudo -n kill -"$signal" $alive 2>/dev/null
  if [ "$signal" != KILL ]; then
    kill -CONT $alive 2>/dev/null
    exit 0
  fi
  round=$((round + 1))
  [ $round -lt 3 ] || sleep 0.1
done
