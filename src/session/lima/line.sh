# The resident shell of a session. Each line is `mark WORD`, which names what has to end when
# the connection does, or `do SCRIPT`. The answer to a script is, in base64: its stdout, NUL, its
# code, NUL, its stderr; then a line with a dot.
sweep=$3 mark=
printf '%s%s\n' "$1" "$2"
while IFS= read -r line; do
  case $line in
  'mark '*) mark=${line#mark } ;;
  'do '*)
    { said=$({ eval "${line#do }"; } 2>&1 1>&3 3>&-); code=$?; [ ${#said} -lt 2000 ] || said=$(printf %s "$said" | tail -c 2000); printf '\000%s\000%s' "$code" "$said"; } 3>&1 | base64
    ;;
  esac
  echo .
done
[ -z "$mark" ] || sh -c "$sweep" sh KILL "$mark" >/dev/null 2>&1
