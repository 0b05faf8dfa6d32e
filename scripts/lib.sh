# What the scripts share; sourced by them, never run.
#
# Everything that is made lies in one folder, $work: the clone's build/ where
# the user that runs the servers can reach it, else a folder of the clone's own
# in /var/tmp (a clone in /root is closed to everybody else).
#
#   $work/pgNN/tree     a copy of the sources, where the extension is built and
#                       pg_regress and pytest run
#   $work/pgNN/prefix   a private copy of PostgreSQL with the extension in it, so
#                       that no test touches the system's installation
#   $work/pgNN-test     the same with the test-only SQL functions of test/src
#                       (make DJK_TEST=1), for pg_regress
#   $work/venv, $work/kafka/libs   what only the tests need

set -euo pipefail
umask 022
# pg_regress takes LC_ALL away, and LANG decides then how its databases are encoded.
export LC_ALL=C.UTF-8 LANG=C.UTF-8

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# PostgreSQL's servers refuse to run as root, so root lends them another user.
if [ "$(id -u)" != 0 ]; then
	server_user=$(id -un)
elif id postgres >/dev/null 2>&1; then
	server_user=postgres
else
	server_user=nobody
fi

# Runs a command as the user of the servers.
as_server() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --init-groups \
			env HOME="$work/home" USER="$server_user" LOGNAME="$server_user" "$@"
	else
		"$@"
	fi
}

# Makes a folder that belongs to the user of the servers.
server_folder() {
	mkdir -p "$1"
	if [ "$(id -u)" = 0 ]; then
		chown "$server_user" "$1"
	fi
}

choose_work() {
	local fallback
	work=${DJK_WORK:-$root/build}
	mkdir -p "$work" 2>/dev/null || true
	if [ -z "${DJK_WORK:-}" ] && ! (cd / && as_server test -x "$work" -a -r "$root/Makefile"); then
		fallback=/var/tmp/djkafka-$(id -u)-$(printf %s "$root" | cksum | cut -d' ' -f1)
		mkdir -p "$fallback"
		# Names in /var/tmp can be guessed: take nobody else's folder for ours.
		[ ! -L "$fallback" ] && [ -O "$fallback" ] || die "$fallback belongs to somebody else"
		rmdir "$work" 2>/dev/null || true
		work=$fallback
	fi
	[ -w "$work" ] || die "cannot write to $work: remove it, or run as the user that made it"
	server_folder "$work/home"
	export DJK_WORK=$work
}

# Says what the PostgreSQL of a pg_config lacks for building and running; nothing
# if nothing.
lacks() {
	local bin major file
	bin=$("$1" --bindir 2>/dev/null) || { echo "an answer of $1"; return; }
	major=$("$1" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
	[[ $major =~ ^[0-9]+$ ]] && [ "$major" -ge 15 ] || { echo "a version that djkafka knows, 15 or newer"; return; }
	for file in "$bin"/{pg_config,postgres,initdb,psql} "$("$1" --includedir-server)/postgres.h" "$("$1" --pgxs)"; do
		[ -e "$file" ] || { echo "$file"; return; }
	done
}

# Prints the pg_config to build with, if there is one: PG_CONFIG; else the first
# that lacks nothing of the one in PATH, which may be libpq's or another version's,
# and of Debian's, the newest first.
find_pg_config() {
	local each
	if [ -n "${PG_CONFIG:-}" ]; then
		command -v "$PG_CONFIG" >/dev/null || die "PG_CONFIG is $PG_CONFIG, which is not there"
		[ -z "$(lacks "$PG_CONFIG")" ] || die "the PostgreSQL of PG_CONFIG, $PG_CONFIG, lacks $(lacks "$PG_CONFIG")"
		echo "$PG_CONFIG"
		return
	fi
	for each in $(command -v pg_config || true) $(compgen -G '/usr/lib/postgresql/*/bin/pg_config' | sort -Vr); do
		if [ -z "$(lacks "$each")" ]; then
			echo "$each"
			return
		fi
	done
}

# choose_postgres [-test]: sets pg_config (the real one, not a wrapper that looks
# for the newest), and with it the folders of the build or of the test build.
choose_postgres() {
	local pg_major
	pg_config=$(find_pg_config)
	[ -n "$pg_config" ] || die "there is no PostgreSQL with its development files; scripts/install-deps installs it"
	pg_config=$("$pg_config" --bindir)/pg_config
	pg_major=$("$pg_config" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
	base=$work/pg$pg_major${1:-}
	tree=$base/tree
	prefix=$base/prefix
	bindir=$prefix$("$pg_config" --bindir)
}

# Holds off other runs in the same clone while folders that they share change.
lock_work() {
	exec 9>"$work/lock"
	flock 9
}

unlock_work() { exec 9>&-; }

free_port() {
	local port
	for _ in $(seq 100); do
		port=$((20000 + RANDOM % 12000))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	die "found no free port"
}

# -- what was passed and failed

passed=0
failed=0

count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
}

# Adds what a script's output closes with; without such a line it came to no test.
count_closing_line() {
	local line
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1 || true)
	[[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]] || return 1
	count "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
}

# Closes a script: prints the counts, and fails unless all passed.
print_counted() {
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" != 0 ]
}
