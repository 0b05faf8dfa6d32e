#!/bin/bash
# test/long/codec_fuzz.sh [MESSAGES [SEED]]: hostile messages against the codecs
# and the converter, under the address and undefined-behaviour sanitizers.
#
#   1. the codecs in a plain program, each allocation a malloc() of its own, with
#      SIMD and without: both must come to the same results;
#   2. the decoder of Avro in another one, with damaged messages and schemas;
#   3. codecs and converter in a server (only our code is instrumented), compared with the server's json and with
#      jsonb_populate_record(); a tenth and a hundredth of the messages, since
#      each meets columns of many types.
#
# PG_CONFIG chooses the server, CC the compiler.  Nothing is left behind.
set -euo pipefail
export LC_ALL=C

messages=${1:-1000000}
seed=${2:-$(date +%s)}
pg_config=${PG_CONFIG:-pg_config}
cc=${CC:-gcc}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
include=$("$pg_config" --includedir-server)
libdir=$("$pg_config" --pkglibdir)
bindir=$("$pg_config" --bindir)

folder=$(mktemp -d)
postmaster=
clean_up() {
	# $postmaster is the shell that waits for the server
	if [ -s "$folder/data/postmaster.pid" ]; then
		kill -QUIT "$(head -n 1 "$folder/data/postmaster.pid")" 2>/dev/null || true
	fi
	if [ -n "$postmaster" ]; then
		wait "$postmaster" 2>/dev/null || true
	fi
	rm -rf "$folder"
}
trap clean_up EXIT
echo "$messages messages, seed $seed"

flags=(-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
	-D_GNU_SOURCE -I"$include" -I"$root/src")
pure=("$root"/src/codec/{json_scan,json,json_escape,path,text,codec,connect,debezium,json_schema,logpipe,msgpack,cloudevents,framing,registered,refuse}.c
	"$root"/src/codec/{avro_schema,avro_type,avro_connect,avro_read,avro_json,avro_value,native,meaning}.c
	"$root/test/src/generate.c" "$root/test/fuzz/shim.c")

# libpgcommon and libpgport lie beside or above the folder of the modules
common=
for candidate in "$libdir" "$(dirname "$libdir")" "$("$pg_config" --libdir)"; do
	if [ -f "$candidate/libpgcommon.a" ]; then
		common=$candidate
	fi
done
[ -n "$common" ] || { echo "there is no libpgcommon.a" >&2; exit 1; }

# All that they share is compiled once; without SIMD is one file of it.
mkdir "$folder/pure"
(cd "$folder/pure" && "$cc" "${flags[@]}" -c "${pure[@]}")
"$cc" "${flags[@]}" -DDJK_JSON_PORTABLE -c -o "$folder/json_scan.o" "$root/src/codec/json_scan.c"
without_simd=("$folder"/pure/*.o)
without_simd=("${without_simd[@]/%*\/json_scan.o/$folder/json_scan.o}")

build_program() { "$cc" "${flags[@]}" "$@" "$common/libpgcommon.a" "$common/libpgport.a" -lm; }
build_program -o "$folder/decode" "$root/test/fuzz/decode_fuzz.c" "$folder"/pure/*.o
build_program -o "$folder/decode_portable" "$root/test/fuzz/decode_fuzz.c" "${without_simd[@]}"
build_program -o "$folder/avro" "$root"/test/fuzz/avro_fuzz.c "$root/test/src/avro_check.c" "$folder"/pure/*.o
simd=$("$folder/decode" "$messages" "$seed")
portable=$("$folder/decode_portable" "$messages" "$seed")
echo "decode: $simd"
[ "$simd" = "$portable" ] || { echo "without SIMD: $portable" >&2; exit 1; }
avro=$("$folder/avro" "$messages" "$seed" <"$root/test/fuzz/avro_seeds")
echo "avro: $avro"

"$cc" "${flags[@]}" -fPIC -shared -o "$folder/codec_fuzz.so" "$root"/src/codec/*.c "$root/src/base/subtransaction.c" \
	"$root"/test/src/{generate,test_convert_random}.c "$root/test/fuzz/module.c"

# the server refuses to be root
as_server() { "$@"; }
if [ "$(id -u)" = 0 ]; then
	chown -R postgres "$folder"
	as_server() { setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups "$@"; }
fi
as_server "$bindir/initdb" -D "$folder/data" -U postgres -E UTF8 --locale=C --no-sync >"$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; exit 1; }

# The sanitizer looks for a function of Swift's when it starts.  If some library's
# constructor allocates first (libgpg-error's does, holding a lock of gettext),
# the error text of that failed search takes the same lock, and the server hangs.
# So there is one to be found.
echo 'char *swift_demangle(void) { return 0; }' | "$cc" -x c -fPIC -shared -o "$folder/found.so" -

chmod a+rx "$folder" "$folder"/*.so
as_server env LD_PRELOAD="$("$cc" -print-file-name=libasan.so) $folder/found.so" \
	ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 \
	"$bindir/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= \
	-c fsync=off -c max_stack_depth=2MB >"$folder/log" 2>&1 &
postmaster=$!
for attempt in $(seq 600); do
	if as_server "$bindir/pg_isready" -q -h "$folder"; then
		break
	fi
	kill -0 "$postmaster" 2>/dev/null && [ "$attempt" != 600 ] || { cat "$folder/log" >&2; exit 1; }
	sleep 0.1
done

status=0
as_server "$bindir/psql" -h "$folder" -U postgres -qAtX -v ON_ERROR_STOP=1 >"$folder/output" 2>&1 <<SQL || status=$?
$(cat "$root/test/sql/include/codec_row.sql")
CREATE FUNCTION fuzz(regclass, bigint, int, bool) RETURNS text
	AS '$folder/codec_fuzz', 'djkafka_test_fuzz' LANGUAGE C;
CREATE FUNCTION compare(regclass, bigint, int) RETURNS text
	AS '$folder/codec_fuzz', 'djkafka_test_convert_random' LANGUAGE C;
SET client_min_messages = debug1;
SELECT fuzz('codec_row', $seed, $((messages / 10)), true);
SELECT compare('codec_row', $seed, $((messages / 100)));
SQL
grep -E 'messages taken|conversions equal' "$folder/output" | sed 's/.*DEBUG: */server: /' || true
if [ $status != 0 ] || ! grep -qx '0 findings' "$folder/output" || ! grep -qx '0 different' "$folder/output"; then
	grep -v DEBUG "$folder/output" >&2 || true
	grep -A 30 'AddressSanitizer\|runtime error' "$folder/log" >&2 || true
	exit 1
fi
echo "0 findings, 0 different"
