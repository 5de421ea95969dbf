# Starts one tool in the guest. Both streams begin with a word that nobody else knows; on stderr
# the same word stands before and behind how the tool ended. It comes in two halves, so that a
# list of processes does not hold it.
word=$1$2 mark=$3 sweep=$4 perl=$5 folder=$6 stdin=$7
shift 7
printf '%s<' "$word"
printf '%s<' "$word" >&2
end() {
  printf '%s>%s\n%s.' "$word" "$1" "$word" >&2
  exit 0
}
if ! [ -e "$folder" ]; then end 'folder does not exist'; fi
if ! [ -d "$folder" ]; then end 'folder is not a folder'; fi
cd -- "$folder" 2>/dev/null || end 'folder may not be entered'
if [ -x /usr/bin/perl ]; then
  exec env DEVSHELL_TOOL_STARTER="$mark" /usr/bin/perl -e "$perl" "$word" "$mark" "$sweep" "$stdin" "$@"
fi
# Without perl a signal cannot be told from a code above 128, and what leaves the session and
# clears its environment is not found.
count=$1
shift
skipped=$count
for argument; do
  if [ "$skipped" -gt 0 ]; then skipped=$((skipped - 1)); continue; fi
  command -v -- "$argument" >/dev/null 2>&1 || case $argument in */*) [ -e "$argument" ] || end 'errno 2';; *) end 'errno 2';; esac
  break
done
if [ "$stdin" = null ]; then setsid env "$@" </dev/null; else setsid env "$@"; fi
code=$?
how="exit $code"
if [ $code -gt 128 ] && [ $code -le 192 ]; then how="signal $((code - 128))"; fi
end "$how
$(sh -c "$sweep" sh KILL "$mark")"
