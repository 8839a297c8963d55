# Makes a cluster and runs it until standard input ends, which it does at the latest with the process at its other end.
# Arguments: the folder of the binaries, the cluster's folder, what postgres is given. The cluster sorts text as most
# installations do (by language, not by byte), so that a query which leans on the order of bytes is found out. A server that
# ends is started again when a file says so.
set -eu
bin=$1 dir=$2
shift 2
watcher=
trap 'kill $watcher 2>/dev/null || true; rm -rf "$dir"' EXIT
"$bin/initdb" --pgdata="$dir/data" --username=postgres --auth=scram-sha-256 --pwfile="$dir/password" --no-sync \
	--encoding=UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US >&2
exec 3<&0
while :; do
	"$bin/postgres" -D "$dir/data" "$@" 3<&- </dev/null &
	server=$!
	{ cat <&3 && kill -QUIT "$server"; } >/dev/null 2>&1 &
	watcher=$!
	wait "$server" || true
	[ -e "$dir/again" ] || break
	rm "$dir/again"
	kill $watcher 2>/dev/null || true
done
