# msgstore: the extension, its gateway and their tests.
# The tree. "make -f …/Makefile" builds the extension in another directory.
tree := $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))
# Files of the tree by their names in it.
files = $(patsubst $(tree)/%,%,$(sort $(wildcard $(addprefix $(tree)/,$(1)))))
EXTENSION = msgstore
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(tree)/msgstore.control)
RELEASE := $(shell sed -n '1,/"version"/s/.*"version": "\(.*\)",/\1/p' $(tree)/META.json)
MODULE_big = msgstore
OBJS = $(patsubst %.c,%.o,$(call files,src/*.c src/*/*.c))
# Scripts of releases; that of this version is made.
DATA = $(filter-out sql/msgstore--$(EXTVERSION).sql,$(call files,sql/msgstore--*.sql))
DATA_built = msgstore--$(EXTVERSION).sql
DOCS = $(call files,docs/*.md)
ROOMS = $(call files,sql/[0-9]*.sql sql/[0-9]*/[0-9]*.sql)

PG_CONFIG ?= pg_config
PG_MAJOR = $(shell $(PG_CONFIG) --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
# -Werror is for developers: a user's compiler may know more warnings.
PG_CFLAGS = -Wall -Wextra $(if $(WERROR),-Werror) $(if $(findstring clang,$(CC)),-Wno-ignored-attributes -Wno-ignored-optimization-argument -Wno-unknown-warning-option)
# As system headers, the server's own warnings do not stop our build.
PG_CPPFLAGS = -I$(srcdir)/src -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(shell $(PG_CONFIG) --includedir) -isystem /usr/include/libxml2
SHLIB_LINK = -lutf8proc -lidn2 -lcrypto -lxml2
EXTRA_CLEAN = test/fuzz/build msgstore--*.sql results tmp_check tmp_check_sql tmp_check_iso log regression.diffs regression.out

# Both runners start servers of their own; the worker is met in test/t.
TEST_SERVER = --inputdir=test --outputdir=. --temp-config=test/server.conf --encoding=UTF8 --no-locale $(if $(filter 15,$(PG_MAJOR)),,--expecteddir=.)
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = $(TEST_SERVER) --temp-instance=tmp_check_sql
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = $(TEST_SERVER) --temp-instance=tmp_check_iso
TAP_TESTS = 1
# Models are checked first: at the end, they would run alone for a minute.
PROVE_TESTS = test/t/970_model.pl $(filter-out test/t/970_model.pl,$(sort $(wildcard test/t/*.pl)))

# Before "make deps" there may be no server to build for: the targets that call
# it begin without, and come back here by a make of their own.
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
# Bitcode for the server's JIT compiler is left out where its clang is missing.
ifeq ($(shell command -v $(or $(CLANG),$(shell sed -n 's/^CLANG *= *//p' $(dir $(PGXS))../Makefile.global),missing)),)
override with_llvm = no
endif
include $(PGXS)
else ifneq ($(filter-out deps demo demo-cluster run test soak bench fuzz screenshots test-sanitize test-versions test-pg-upgrade test-bare test-images test-patroni test-cluster deb test-deb format lint dist release begin,$(or $(MAKECMDGOALS),all)),)
$(error $(PG_CONFIG) finds no server to build for: run "make deps" first)
endif

install: install-monitoring
# ROUTER=no and GATEWAY=no leave these out, where they are built by themselves.
ROUTER ?= yes
ifneq ($(ROUTER),no)
all: router
install: install-router
uninstall: uninstall-router
clean: clean-router
endif
GATEWAY ?= yes
ifneq ($(GATEWAY),no)
all: gateway
install: install-gateway
uninstall: uninstall-gateway
clean: clean-gateway
endif
gateway install-gateway uninstall-gateway clean-gateway:
	@$(MAKE) --no-print-directory -C $(tree)/gateway $(patsubst gateway,,$(subst -gateway,,$@)) PG_CONFIG='$(PG_CONFIG)' $(if $(bindir),bindir='$(bindir)')
# The extension msgstore_router, for clusters. A release freezes its script.
router/msgstore_router--%.sql:
	@$(MAKE) --no-print-directory -B -C $(tree)/router $(@F) PG_CONFIG='$(PG_CONFIG)'
router install-router uninstall-router clean-router:
	@$(MAKE) --no-print-directory -C $(tree)/router $(or $(patsubst router,,$(subst -router,,$@)),all) PG_CONFIG='$(PG_CONFIG)' VPATH=
$(OBJS): $(addprefix $(tree)/,$(call files,src/*/*.h))
$(shell mkdir -p $(sort $(dir $(OBJS))))
src/maintenance/readiness.o src/maintenance/readiness.bc: override CPPFLAGS += -DMSGSTORE_VERSION='"$(EXTVERSION)"'
src/maintenance/readiness.o: msgstore.control
src/server/release.o src/server/release.bc: override CPPFLAGS += -DMSGSTORE_RELEASE='"$(RELEASE)"'
src/server/release.o: META.json

msgstore--$(EXTVERSION).sql: $(ROOMS) msgstore.control
	cat $(filter %.sql,$^) > $@
# For Prometheus and Grafana.
install-monitoring:
	$(MKDIR_P) '$(DESTDIR)$(datadir)/msgstore'
	$(INSTALL_DATA) $(tree)/docs/alert-rules.yml $(tree)/docs/grafana-dashboard.json '$(DESTDIR)$(datadir)/msgstore/'

deps:
	@test/deps
demo run test soak bench:
	@test/deps build run $(patsubst soak,test,$(filter test soak bench,$@))
	@{ $(MAKE) -q GATEWAY=no all && $(MAKE) --no-print-directory -q -C gateway all; } || echo 'building the extension and the gateway'
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
test-bare test-images:
	@test/$(@:test-%=%)
# The primary of a server with standbys dies; servers of a cluster change under load.
test-patroni test-cluster demo-cluster:
	@test/deps build run test $(if $(filter test-patroni,$@),patroni)
	@$(MAKE) --no-print-directory -s -j$$(nproc) all
	@test/$(subst -,_,$(@:test-%=%))
	@$(if $(filter test-patroni,$@),test/patroni_cluster)
# From the server of OLD_PG_CONFIG to that of PG_CONFIG.
test-pg-upgrade:
	@test/deps build run test
	@$(MAKE) --no-print-directory -s all WERROR=1
	@PG_CONFIG='$(PG_CONFIG)' test/pg_upgrade
SOURCES = $(sort $(wildcard src/*.[ch] src/*/*.[ch] gateway/*.[ch] gateway/*/*.[ch] bench/*.[ch] test/fuzz/*.[ch]))
format lint:
	@test/deps lint
	@$(if $(filter format,$@),clang-format -i,test/lint) $(SOURCES)
# Of the console, for the documentation.
screenshots:
	@test/deps build run test
	@$(MAKE) --no-print-directory -s all
	@test/screenshots
# The man pages go to the directory "man", the packages to the directory "deb".
man: gateway
	@mkdir -p $@
	$(tree)/docs/manual $(tree)/gateway $@
deb:
	@test/deps deb
	@debian/build $@
test-deb:
	@test/packages
# A clean tree, so that the archive is what was tested. "make release" also freezes
# the SQL; "make begin VERSION=0.2" follows it.
dist:
	@test -z "$$(git status --porcelain)" || { echo "dist: the tree has changes that are not committed:"; git status --short; exit 1; } >&2
	git archive --format=zip --prefix=msgstore-$(RELEASE)/ -o msgstore-$(RELEASE).zip HEAD
release:
	@./release make
begin:
	@./release begin '$(VERSION)'
.PHONY: router install-router uninstall-router clean-router gateway install-gateway uninstall-gateway clean-gateway install-monitoring deps demo demo-cluster run test soak bench fuzz screenshots test-sanitize test-versions test-pg-upgrade test-bare test-images test-patroni test-cluster man deb test-deb sanitized format lint dist release begin
