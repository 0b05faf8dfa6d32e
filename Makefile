# djkafka: Kafka inside PostgreSQL.
#
#   make && make install     build and install with PGXS (PG_CONFIG=... picks the server)
#   make demo                the main job in a throw-away server, installing what is missing
#   make check T=publish     the SQL suite, or the test of pytest, that T names; all in SQL without T
#   make test                every suite but the long ones, with a real Apache Kafka
#   make test-long           random faults, volumes, poisoned memory, about an hour
#
# All but the first are usable before PostgreSQL is installed, so they are
# answered before PGXS is looked for.

.PHONY: demo check test test-long bench
.DEFAULT_GOAL := all

ifneq ($(filter demo check test test-long bench,$(MAKECMDGOALS)),)

demo check test test-long bench:
	@scripts/run $@

else

EXTENSION  = djkafka
MODULE_big = djkafka
OBJS       = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
DATA       = $(sort $(wildcard sql/djkafka--*.sql))

PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS   = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
              -fvisibility=default
SHLIB_LINK  = -lrdkafka -ljansson -lcurl -Wl,--version-script=$(srcdir)/src/djkafka.map

# Assertions, and test-only SQL functions over pure modules; never part of an
# installed build.  The server needs no assertions of its own for ours.
ifdef DJK_TEST
OBJS      += $(patsubst %.c,%.o,$(sort $(wildcard test/src/*.c)))
PG_CPPFLAGS += -DUSE_ASSERT_CHECKING=1
endif

REGRESS        = $(shell cat $(srcdir)/test/regress.list 2>/dev/null)
REGRESS_OPTS   = --inputdir=$(srcdir)/test --outputdir=. --temp-instance=tmp_check \
                 --temp-config=$(srcdir)/test/djkafka.conf
ISOLATION      = $(shell cat $(srcdir)/test/isolation.list 2>/dev/null)
ISOLATION_OPTS = --inputdir=$(srcdir)/test --outputdir=. --temp-instance=tmp_check_iso \
                 --temp-config=$(srcdir)/test/djkafka.conf --load-extension=djkafka
EXTRA_CLEAN    = tmp_check tmp_check_iso results log output_iso regression.diffs regression.out

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# A change of a header rebuilds everything: the tree is small, and a stale
# object in a database server is worse than a slow build.
$(OBJS): $(wildcard $(srcdir)/src/*/*.h) $(srcdir)/src/djkafka.map $(srcdir)/Makefile

endif
