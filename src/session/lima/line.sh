# The resident shell of a session. Each line is `mark WORD`, which names what has to end when
# the connection does, `do SCRIPT`, or `serve DIGEST`, by which it becomes the agent of that digest;
# so it does at once where the guest has that of $4 already, and what $6 names. The answer to a script
# is, in base64: its stdout, NUL, its code, NUL, its stderr; then a line with a dot.
_word=$1$2 sweep=$3 _agent=${XDG_CACHE_HOME:-$HOME/.cache}/devshell/devshell-vm- _root=$5 mark=
serve() {
  _agent=$_agent$1
  if [ -d "$_root" ]; then set -- --root "$_root"; else set --; fi
  exec "$_agent" --serve-stdio --root "${_agent%/*}" "$@" --pass-env '*' --greeting "$_word agent $_agent"
}
if [ -n "$4" ] && [ -s "$_agent$4" ] && [ -x "$_agent$4" ] && { [ -z "$6" ] || command -v "$6" >/dev/null; }; then serve "$4"; fi
printf '%s\n' "$_word"
while IFS= read -r line; do
  case $line in
  'mark '*) mark=${line#mark } ;;
  'do '*)
    { said=$({ eval "${line#do }"; } 2>&1 1>&3 3>&-); code=$?; [ ${#said} -lt 2000 ] || said=$(printf %s "$said" | tail -c 2000); printf '\000%s\000%s' "$code" "$said"; } 3>&1 | base64
    ;;
  'serve '*) serve "${line#serve }" ;;
  esac
  echo .
done
[ -z "$mark" ] || sh -c "$sweep" sh KILL "$mark" >/dev/null 2>&1
