# Chroma's single-node server in C. `make help` lists the targets.
#
#   make                    build/chroma, release
#   make MODE=asan check    unit tests under another build: release debug asan tsan
#   make WERROR=1 ...       warnings are errors (CI)

MODE    ?= release
ifeq ($(origin CC),default)
CC      := gcc
endif
JOBS    ?= $(shell nproc)
PORT    ?= 8000
ROUNDS  ?= 500
SECONDS ?= 600
COVER   ?= core wal catalog index api server
CUTS    ?= 2000
DATA    ?= ./chroma
B       := build/$(MODE)
ifeq ($(MODE),fuzz)
CC      := clang
endif

FOLDERS := core wal catalog index api server
# A library a folder; a folder may use those before it (tests/tools/check-includes.sh holds the rule).
SRC      = $(wildcard $(1)/*.c)
OBJ      = $(patsubst %.c,$(B)/%.o,$(call SRC,$(1)))
LIBS_OF_core    := core
LIBS_OF_wal     := wal core
LIBS_OF_catalog := catalog core
LIBS_OF_index   := index core
LIBS_OF_api     := api index catalog wal core
LIBS_OF_server  := server api index catalog wal core

PKGS     := libmicrohttpd libcjson sqlite3 libuv yaml-0.1 libpcre2-8 libzstd libcrypt gnutls
DEBS     := gcc make pkg-config libc6-dev libmicrohttpd-dev libcjson-dev libsqlite3-dev libuv1-dev libyaml-dev \
            libpcre2-dev libzstd-dev libxxhash-dev libcrypt-dev libgnutls28-dev
DEBS_TEST := check python3 python3-venv openssl
DEBS_DEV := clang libclang-rt-dev llvm clang-tidy clang-format cppcheck valgrind wrk

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wold-style-definition -Wformat=2 -Wcast-align -Wcast-qual -Wpointer-arith -Wwrite-strings -Wvla -Wundef \
        -Wnull-dereference -Wdate-time -Wno-missing-field-initializers
IS_GCC := $(shell $(CC) --version 2>/dev/null | head -1 | grep -qi clang || echo yes)
ifeq ($(IS_GCC),yes)
WARN += -Wimplicit-fallthrough=5 -Wduplicated-cond -Wlogical-op -Wstack-usage=32768
endif
ifeq ($(MODE),fuzz)
WARN := # the gcc builds look at warnings; clang has some more about what gcc takes
endif
ifdef WERROR
WARN += -Werror
endif

HARDEN := -fno-common -fno-strict-aliasing -fstack-protector-strong -fPIE
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
CFLAGS_fuzz    := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS_cov     := -O0 -g --coverage
LD_release     := -pie -Wl,-z,relro,-z,now
LD_debug       := -pie
LD_asan        := -fsanitize=address,undefined
LD_tsan        := -fsanitize=thread
LD_fuzz        := -fsanitize=address,undefined
LD_cov         := --coverage

CPPFLAGS := -I. -D_GNU_SOURCE $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS   := -std=c11 $(WARN) $(HARDEN) $(CFLAGS_$(MODE)) $(EXTRA_CFLAGS)
LDFLAGS  := $(LD_$(MODE))
LDLIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -lpthread

ifeq ($(MODE),release)
BIN := build/chroma
else
BIN := $(B)/chroma
endif

.PHONY: all help deps deps-test deps-dev run debug asan tsan unit-build check check-asan check-tsan test e2e crash power faults backup-check flips \
        steady gateway contract upstream differential js integrations bench bench-scale format format-check lint headers-check includes-check \
        migrate-check fuzz fuzz-build fuzz-run fuzz-ci fuzz-merge coverage soak hostile clean

all: $(BIN) ## build/chroma, the release build

help: ## this list
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# ------------------------------------------------------------------------------------------------ packages
# Installs what is missing, and only then needs to be root.
define install_debs
	@tests/tools/install-debs.sh $(1)
endef

deps: ## install the packages that building needs
	$(call install_debs,$(DEBS))

deps-test: ## install the packages that the tests need
	$(call install_debs,$(DEBS) $(DEBS_TEST))

deps-dev: ## install clang, cppcheck, valgrind, wrk
	$(call install_debs,$(DEBS) $(DEBS_TEST) $(DEBS_DEV))

# ------------------------------------------------------------------------------------------------ building
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

define folder_lib
$(B)/lib$(1).a: $(call OBJ,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach f,$(filter-out server,$(FOLDERS)),$(eval $(call folder_lib,$(f))))

$(B)/libserver.a: $(filter-out $(B)/server/main.o,$(call OBJ,server))
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(BIN): $(B)/server/main.o $(foreach f,$(LIBS_OF_server),$(B)/lib$(f).a)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

run: deps ## install what is missing, build, serve the data in ./chroma (DATA=dir PORT=n)
	@$(MAKE) -j$(JOBS) all # a make of its own: pkg-config may have been installed just now
	./build/chroma run --path $(DATA) --port $(PORT)

debug asan tsan: ## the binary in another build, in build/MODE/chroma
	$(MAKE) MODE=$@ all

# ------------------------------------------------------------------------------------------------ unit tests
# tests/unit/<folder>/test_<name>.c is one Check suite and one program, linked with its folder and those below it.
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))
LIB_OBJ  := $(patsubst %.c,$(B)/%.o,$(wildcard tests/lib/*.c))

CHECK_LIBS := $(shell pkg-config --libs check 2>/dev/null)

.SECONDEXPANSION:
$(UNIT_BIN): $(B)/unit/%: $(B)/tests/unit/%.o $(LIB_OBJ) $$(foreach f,$$(LIBS_OF_$$(firstword $$(subst /, ,$$*))),$(B)/lib$$(f).a)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(CHECK_LIBS) $(LDLIBS)

unit-build: $(UNIT_BIN)

check: $(if $(T),$(B)/unit/$(T),$(UNIT_BIN)) ## unit tests (T=core/test_topk for one; SHARE=1000: ten times the rounds of the long ones)
	@JOBS=$(JOBS) SUITE_SHARE=$(SHARE) tests/tools/run-unit.sh $(B) $(if $(T),$(B)/unit/$(T),$(UNIT_BIN))

check-asan: ## unit tests under AddressSanitizer and UBSan, half of the long ones' rounds (SHARE=100: all)
	$(MAKE) MODE=asan check

check-tsan: ## unit tests under ThreadSanitizer, a quarter of the long ones' rounds (SHARE=100: all)
	$(MAKE) MODE=tsan check

# ------------------------------------------------------------------------------------------------ fuzzing
# tests/fuzz/fuzz_<name>.c is one target and one program with everything in it. MODE=fuzz (clang) links libFuzzer, any other
# mode tests/fuzz/driver.c.
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_MAIN := $(if $(filter fuzz,$(MODE)),,$(B)/tests/fuzz/driver.o)

$(FUZZ_BIN): $(B)/%: $(B)/tests/fuzz/%.o $(B)/tests/lib/rng.o $(FUZZ_MAIN) $(foreach f,$(LIBS_OF_server),$(B)/lib$(f).a)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(if $(filter fuzz,$(MODE)),-fsanitize=fuzzer) -o $@ $^ $(LDLIBS)

fuzz-build: $(FUZZ_BIN)

fuzz: ## the fuzz targets with libFuzzer, into build/fuzz (make deps-dev first)
	@command -v clang >/dev/null || { echo "no clang here: make deps-dev, or make fuzz-ci, which needs gcc only"; exit 1; }
	$(MAKE) MODE=fuzz fuzz-build

fuzz-run: fuzz ## fuzz each target, two at a time; what is found goes to build/fuzz/found (SECONDS=600 T=json)
	@tests/tools/run-fuzz.sh run $(SECONDS) $(T)

fuzz-ci: ## the targets without libFuzzer: their corpora, then random changes for a second each
	@$(MAKE) -s MODE=asan fuzz-build
	@JOBS=$(JOBS) tests/tools/run-fuzz.sh ci 1 $(T)

fuzz-merge: fuzz ## put what fuzz-run found new into tests/fuzz/corpus, as little as keeps the coverage (T=json)
	@tests/tools/run-fuzz.sh merge 0 $(T)

coverage: ## lines and branches that unit tests and fuzz corpora reach, by folder and file (COVER="wal index api" takes those only)
	@$(MAKE) -s MODE=cov fuzz-build $(patsubst tests/unit/%.c,build/cov/unit/%,$(wildcard $(COVER:%=tests/unit/%/test_*.c)))
	@JOBS=$(JOBS) tests/tools/coverage.sh $(COVER)

# ------------------------------------------------------------------------------------------------ everything else
# `make test` installs what it needs and tests the release build; the others need `make deps-test` once, and test that of
# MODE.
RUN_ON = CHROMA_BINARY=$(abspath $(BIN))

test: deps-test ## build and run every test; ends with "N passed, N failed"
	@tests/tools/run-all.sh

e2e: all ## tests through the real Python client
	$(RUN_ON) tests/tools/run-e2e.sh --ignore=test_gateway.py

crash: all ## kill the server at random moments and look what it kept (ROUNDS=500)
	$(RUN_ON) CRASH_ROUNDS=$(ROUNDS) tests/tools/run-e2e.sh -s test_crash.py

power: $(B)/unit/api/test_power ## power cuts of a whole store on a recorded disk (CUTS=2000 SEED=1)
	POWER_CUTS=$(CUTS) POWER_SEED=$(SEED) $<

faults: all ## each operation of a store's life fails, every one in turn; too little space, descriptors, threads
	for t in wal/test_faults catalog/test_faults api/test_life_faults api/test_store_faults api/test_fork_faults api/test_backup_faults; do \
	  $(MAKE) check T=$$t SHARE=1000 || exit 1; done
	$(RUN_ON) tests/tools/run-e2e.sh test_resources.py

backup-check: all ## backups and restores under load, cut off, damaged: deeper than `make test` (ROUNDS=50)
	$(MAKE) check T=api/test_backup SHARE=500
	$(MAKE) check T=api/test_backup_power SHARE=1000
	$(RUN_ON) BACKUP_ROUNDS=$(if $(filter file,$(origin ROUNDS)),50,$(ROUNDS)) tests/tools/run-e2e.sh test_backup.py

flips: all ## flip bits everywhere in a data directory: each is found, or changes no answer (FLIPS=2000 FLIPS_SEED=1)
	$(RUN_ON) FLIPS=$(or $(FLIPS),2000) FLIPS_SEED=$(or $(FLIPS_SEED),1) tests/tools/run-e2e.sh -s test_flips.py

steady: all ## ten minutes of mixed load: memory, disk and open files must not grow (SECONDS=600)
	$(RUN_ON) python3 tests/e2e/test_memory.py $(SECONDS)

hostile: all ## hostile clients, larger than in CI, the harmless one's median at most twice its quiet value (SCALE=4)
	$(RUN_ON) HOSTILE_SCALE=$(or $(SCALE),4) HOSTILE_RATIO=2 HOSTILE_REQUESTS=20000 \
	  tests/tools/run-e2e.sh -s test_hostile_clients.py test_hostile.py

soak: all ## mixed load and random kills, everything compared with a model (SECONDS=3600 SEED=n BIN=build/tsan/chroma)
	@python3 tests/soak/soak.py --binary $(abspath $(BIN)) $(call GIVEN,SECONDS,--seconds) $(call GIVEN,SEED,--seed)

gateway: all ## torture of the HTTP side and of start and stop, with plain sockets
	python3 tests/e2e/test_gateway.py $(BIN)

contract: all ## replay the recorded cases of ../shared/contract
	$(RUN_ON) "$$(tests/tools/venv.sh)" tests/tools/run_contract.py

upstream: all ## upstream's own tests from the chromadb wheel (PART=ci; UPSTREAM_SEED, UPSTREAM_EXAMPLES: tests/upstream/run.py)
	$(RUN_ON) tests/tools/run-upstream.sh --part $(or $(PART),all)

differential: all ## generated requests to the real server and to ours, compared (SEED=1 COUNT=5000)
	tests/tools/run-differential.sh $(SEED) $(COUNT)

migrate-check: all ## migrate a directory that the real server filled, compare record by record (ROWS=60000 GETS=1200 SEED=1)
	$(RUN_ON) "$$(tests/tools/venv.sh)" tests/e2e/migrating.py $(or $(ROWS),60000) $(or $(GETS),1200) $(or $(SEED),1)

js: all ## tests through the real JavaScript client
	tests/tools/run-js.sh

integrations: all ## LangChain's and LlamaIndex's stores on top of the server (installs many packages)
	$(RUN_ON) tests/tools/run-integrations.sh

# DATA and ROUNDS have defaults that mean something else here.
GIVEN = $(if $(filter file default undefined,$(origin $(1))),,$(2) $($(1)))

bench: all ## ours beside upstream's wheel (N=20000 SECONDS=2 ROUNDS=3 OUT=f.json DATA=f.npy DOCS=f.json.gz; make deps-dev first)
	@$(RUN_ON) "$$(tests/tools/venv.sh)" tests/bench/bench.py $(call GIVEN,N,-n) $(call GIVEN,SECONDS,--seconds) \
	  $(call GIVEN,ROUNDS,--rounds) $(call GIVEN,OUT,--out) $(call GIVEN,DATA,--data) $(call GIVEN,DOCS,--docs)

bench-scale: all ## how ours grows (ROWS=100000,1000000 SECONDS=5 OUT=f.json DATA=f.npy DOCS=f.json.gz)
	@$(RUN_ON) "$$(tests/tools/venv.sh)" tests/bench/scale.py $(call GIVEN,ROWS,--rows) $(call GIVEN,SECONDS,--seconds) \
	  $(call GIVEN,OUT,--out) $(call GIVEN,DATA,--data) $(call GIVEN,DOCS,--docs)

format: ## lay the code out with clang-format
	clang-format -i $(wildcard $(addsuffix /*.[ch],$(FOLDERS)) tests/unit/*/*.c tests/lib/*.[ch] tests/fuzz/*.[ch])

format-check: ## is it laid out so? (make deps-dev first; lint too)
	clang-format --dry-run -Werror $(wildcard $(addsuffix /*.[ch],$(FOLDERS)) tests/unit/*/*.c tests/lib/*.[ch] tests/fuzz/*.[ch])

lint: ## clang-tidy and cppcheck
	@rc=0; printf '%s\n' $(wildcard $(addsuffix /*.c,$(FOLDERS))) | \
	  xargs -P $(JOBS) -n 8 sh -c 'clang-tidy --quiet "$$@" -- $(CPPFLAGS) -std=c11' lint || rc=1; \
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --suppress=missingIncludeSystem --suppress=incorrectStringBooleanError -I. -D_GNU_SOURCE $(FOLDERS) || rc=1; \
	exit $$rc # the suppressed one: CHECK(x && "words")

headers-check: ## every header compiles alone
	@for h in $(wildcard $(addsuffix /*.h,$(FOLDERS))); do \
	  $(CC) $(CPPFLAGS) $(CFLAGS) -Wno-unused -fsyntax-only -x c $$h || exit 1; done; echo "headers: ok"

includes-check: ## includes between folders go one way
	@tests/tools/check-includes.sh

clean: ## remove build/
	rm -rf build

-include $(wildcard $(B)/*/*.d $(B)/tests/*/*.d $(B)/tests/unit/*/*.d)
