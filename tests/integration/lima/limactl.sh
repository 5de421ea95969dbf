#!/bin/sh
# A limactl that keeps its "instance" in a folder and runs the "guest's" programs here. Its state:
# status, mounts (JSON), and, made by a test, one file for each thing that is to go wrong.
state=$(dirname "$0")/state
echo "$*" >>"$state/calls"
wrong() { [ -e "$state/wrong-$1" ]; }
fatal() { echo "{\"level\":\"fatal\",\"msg\":\"$1\",\"time\":\"t\"}" >&2; exit 1; }
[ "$1" != --version ] || { echo limactl version 9.9.9; exit; }
wrong root && fatal 'must not run as the root user'
[ "$1" != --log-format=json ] || shift
command=$1
shift
case $command in
list)
    [ -e "$state/status" ] || { echo 'time="t" level=warning msg="No instance matching t found."' >&2; echo 'time="t" level=fatal msg="unmatched instances"' >&2; exit 1; }
    printf '{"name":"t","status":"%s","arch":"'"$(cat "$state/arch" 2>/dev/null || uname -m)"'","dir":"%s","sshConfigFile":"'"$(cat "$state/ssh-config" 2>/dev/null)"'","errors":[%s],"config":{"user":{"shell":"'"$(cat "$state/shell" 2>/dev/null)"'"},"mountType":"'"$(cat "$state/mount-type" 2>/dev/null || echo 9p)"'","mounts":%s}}\n' \
        "$(cat "$state/status")" "$state" "$(cat "$state/errors" 2>/dev/null)" "$(cat "$state/mounts")"
    ;;
create)
    wrong template && fatal 'template \"none\" not found'
    wrong room && fatal 'write x: no space left on device'
    for word; do case $word in .mounts*) echo "$word" | sed 's/^.mounts += //' >"$state/mounts";; esac; done
    echo Stopped >"$state/status"
    ;;
start)
    wrong kvm && fatal 'Could not access KVM kernel module: Permission denied'
    # As it is: limactl knows only that its host agent has ended, whose log knows why.
    wrong virtiofs && { echo '{"level":"fatal","msg":"failed to locate virtiofsd"}' >"$state/ha.stderr.log"; fatal 'exiting, status={Running:false}'; }
    wrong sshd && fatal 'did not receive an event: Waiting for the essential requirement 1 of 3: `ssh`'
    wrong slow && { echo $$ >"$state/starting"; sleep 300 & wait $!; }
    echo '{"level":"info","msg":"READY. Run limactl shell","time":"t"}' >&2
    wrong start-breaks && { echo Broken >"$state/status"; exit; }
    echo Running >"$state/status"
    ;;
stop)
    rm -f "$state/errors"
    echo Stopped >"$state/status"
    ;;
shell)
    [ "$1 $3" = '--workdir t' ] || fatal "not as expected: $*"
    cd "$2" || exit 1
    export XDG_CACHE_HOME="$state/../cache"
    [ ! -e "$state/../bin" ] || PATH="$state/../bin"
    shift 3
    case $1 in *=*) fatal 'taken for an assignment';; esac
    [ "$(cat "$state/status" 2>/dev/null)" != Stopped ] || fatal 'instance `t` is stopped'
    wrong ssh && { echo 'kex_exchange_identification: Connection closed by remote host' >&2; exit 255; }
    wrong motd && { echo 'Welcome'; echo 'to the guest' >&2; }
    if wrong dies; then
        case "$*" in *"Starts one tool"*) echo $$ >"$state/client";; *) [ -e "$state/client" ] || echo $$ >"$state/client";; esac
    fi
    [ $# -gt 0 ] || set -- "${SHELL:-sh}"
    # What the client starts lives on when it is killed, as behind a real ssh.
    exec "$@"
    ;;
*)
    fatal "unknown command $command"
    ;;
esac
