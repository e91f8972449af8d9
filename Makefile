# msgstore: the extension, its gateway and their tests.
EXTENSION = msgstore
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" msgstore.control)
MODULE_big = msgstore
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
DATA = $(wildcard sql/msgstore--*--*.sql)
DATA_built = msgstore--$(EXTVERSION).sql
DOCS = $(wildcard docs/*.md)
ROOMS = $(sort $(wildcard sql/[0-9]*.sql sql/[0-9]*/[0-9]*.sql))
GATEWAY = gateway/msgstore-gateway
GATEWAY_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard gateway/*.c gateway/*/*.c)))
# Plain C that the extension and the gateway have in common.
SHARED_OBJS = src/inbox/json_text.o

PG_CONFIG ?= pg_config
PG_MAJOR = $(shell $(PG_CONFIG) --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
# -Werror is for developers: a user's compiler may know more warnings.
PG_CFLAGS = -Wall -Wextra $(if $(WERROR),-Werror) $(if $(findstring clang,$(CC)),-Wno-ignored-attributes -Wno-ignored-optimization-argument -Wno-unknown-warning-option)
# As system headers, the server's own warnings do not stop our build.
PG_CPPFLAGS = -I$(srcdir)/src -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(shell $(PG_CONFIG) --includedir)
SHLIB_LINK = -lutf8proc -lidn2
EXTRA_CLEAN = test/fuzz/build $(GATEWAY) $(GATEWAY_OBJS) msgstore--*.sql results tmp_check tmp_check_sql tmp_check_iso log regression.diffs regression.out

# Both runners start servers of their own; the worker is met in test/t.
TEST_SERVER = --inputdir=test --outputdir=. --temp-config=test/server.conf --encoding=UTF8 --no-locale $(if $(filter 15,$(PG_MAJOR)),,--expecteddir=.)
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = $(TEST_SERVER) --temp-instance=tmp_check_sql
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = $(TEST_SERVER) --temp-instance=tmp_check_iso
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

# Before "make deps" there may be no server to build for: the targets that call
# it begin without, and come back here by a make of their own.
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
# Bitcode for the server's JIT compiler is left out where its clang is missing.
ifeq ($(shell command -v $(or $(CLANG),$(shell sed -n 's/^CLANG *= *//p' $(dir $(PGXS))../Makefile.global),missing)),)
override with_llvm = no
endif
include $(PGXS)
else ifneq ($(filter-out deps demo run test soak bench fuzz test-sanitize test-versions test-pg-upgrade format lint dist,$(or $(MAKECMDGOALS),all)),)
$(error $(PG_CONFIG) finds no server to build for: run "make deps" first)
endif

all: $(GATEWAY)
install: install-gateway install-monitoring
$(OBJS): $(wildcard src/*/*.h)
src/maintenance/readiness.o src/maintenance/readiness.bc: override CPPFLAGS += -DMSGSTORE_VERSION='"$(EXTVERSION)"'
src/maintenance/readiness.o: msgstore.control
$(GATEWAY_OBJS): $(wildcard gateway/*.h gateway/*/*.h) $(SHARED_OBJS:.o=.h)
$(GATEWAY_OBJS): override CPPFLAGS := -Igateway $(CPPFLAGS)
gateway/routes/openapi.o: override CPPFLAGS += -DMSGSTORE_VERSION='"$(EXTVERSION)"'
gateway/routes/openapi.o: msgstore.control
# Of PostgreSQL 16 and later, for modules: a program has no such need.
$(GATEWAY_OBJS): override CFLAGS := $(filter-out -fvisibility=%,$(CFLAGS))

msgstore--$(EXTVERSION).sql: $(ROOMS) msgstore.control
	cat $(ROOMS) > $@
$(GATEWAY): $(GATEWAY_OBJS) $(SHARED_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--export-dynamic-symbol=SSL_get_peer_certificate,--export-dynamic-symbol=SSL_read,--export-dynamic-symbol=recv -o $@ $^ -lcivetweb -lcjson -lpq -lssl -lcrypto -lz -lpthread
install-gateway: $(GATEWAY)
	$(INSTALL_PROGRAM) -D $(GATEWAY) '$(DESTDIR)$(bindir)/msgstore-gateway'
# For Prometheus and Grafana.
install-monitoring:
	$(MKDIR_P) '$(DESTDIR)$(datadir)/msgstore'
	$(INSTALL_DATA) $(srcdir)/docs/alert-rules.yml $(srcdir)/docs/grafana-dashboard.json '$(DESTDIR)$(datadir)/msgstore/'

deps:
	@test/deps
demo run test soak bench:
	@test/deps build run $(patsubst soak,test,$(filter test soak bench,$@))
	@$(MAKE) --no-print-directory -q all || echo 'building the extension and the gateway'
	@$(MAKE) --no-print-directory -s -j$$(nproc) all $(if $(filter test,$@),sanitized WERROR=1)
	@$(if $(filter bench,$@),bench/bench,test/$@)
# Both build with the sanitizers, by the clang that the server was built with.
FUZZ_SECONDS = 60
fuzz test-sanitize:
	@test/deps build run test
	@$(MAKE) --no-print-directory -s all sanitized
	@$(if $(filter fuzz,$@),test/fuzz/run $(FUZZ_SECONDS) &&) test/fuzz/sanitize
sanitized:
	@$(MAKE) --no-print-directory -s -C test/fuzz CLANG='$(or $(CLANG),clang)' PG_CONFIG='$(PG_CONFIG)'
test-versions:
	@test/versions $(SUITES)
# From the server of OLD_PG_CONFIG to that of PG_CONFIG.
test-pg-upgrade:
	@test/deps build run test
	@$(MAKE) --no-print-directory -s all WERROR=1
	@PG_CONFIG='$(PG_CONFIG)' test/pg_upgrade
SOURCES = $(sort $(wildcard src/*.[ch] src/*/*.[ch] gateway/*.[ch] gateway/*/*.[ch] bench/*.[ch] test/fuzz/*.[ch]))
format lint:
	@test/deps lint
	@$(if $(filter format,$@),clang-format -i,test/lint) $(SOURCES)
dist: RELEASE = $(shell sed -n '1,/"version"/s/.*"version": "\(.*\)",/msgstore-\1/p' META.json)
dist:
	git archive --format=zip --prefix=$(RELEASE)/ -o $(RELEASE).zip HEAD
.PHONY: install-gateway install-monitoring deps demo run test soak bench fuzz test-sanitize test-versions test-pg-upgrade sanitized format lint dist
