# A PostgreSQL server of its own with djkafka and the embedded broker, gone when the
# script ends; sourced by scripts/demo and scripts/shell, after lib.sh.

leave_throwaway() {
	local status=$?
	if [ -e "$folder/data/postmaster.pid" ]; then
		as_server "$bindir/pg_ctl" --pgdata="$folder/data" --mode=fast --silent stop || true
	fi
	if [ $status != 0 ] && [ -e "$folder/log" ]; then
		say "The server's log ends:"
		tail -n 30 "$folder/log" >&2
	fi
	rm -rf "$folder"
}

# make_throwaway TEMPLATE: the folder, $folder; the name of a socket in it must be short.
make_throwaway() {
	folder=$(as_server mktemp -d "$1")
	trap leave_throwaway EXIT
	trap 'exit 130' INT TERM
}

sql() { as_server "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -h "$folder" -U "${user:-shop}" -d "${database:-shop}" -c "$1"; }

# The server, with the database shop of the role shop.
start_throwaway() {
	cd /
	as_server "$bindir/initdb" --pgdata="$folder/data" --username=postgres --auth=trust \
		--encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
	as_server tee -a "$folder/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$folder'
max_worker_processes = 24
shared_preload_libraries = 'djkafka'
djkafka.databases = 'shop'
djkafka.bootstrap_servers = 'embedded'
djkafka.embedded_broker = on        # Kafka in memory: for demos and unit tests
CONF
	as_server "$bindir/pg_ctl" --pgdata="$folder/data" --log="$folder/log" --options="${DJK_POSTGRES_OPTIONS:-}" --silent --wait start
	user=postgres database=postgres sql 'CREATE ROLE shop LOGIN'
	user=postgres database=postgres sql 'CREATE DATABASE shop OWNER shop'
}
