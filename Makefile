# The front door. `make demo` shows the product, `make test` proves it; the rest are parts of them.
# Everything made or fetched lands in build/.

ENGINE := build/engine/release/libpolyagent_engine.a
VENV := build/venv/bin
PREFIX := /usr/local
# What the machine lacks of toolchains (scripts/toolchains.sh).
export PATH := $(CURDIR)/build/tools/bin:$(PATH)

.PHONY: all demo test unit e2e sanitize lint format interpreters deps bench install clean hostile faults allocations fuzz \
	mutants soak chaos hostile-soak determinism fresh-machine proof
all: build/main/build.ninja
	@ninja -C build/main --quiet
	@ln -sfn main/src/polyagent build/polyagent
	@ln -sfn main/src/polyagent build/wasi_hello

demo: deps all interpreters
	@echo; echo '$$ build/wasi_hello docs/assets/hello-wasi.wat'
	@build/wasi_hello docs/assets/hello-wasi.wat
	@echo; echo '$$ build/polyagent python --stats examples/primes.py'
	@build/polyagent python --stats examples/primes.py

test: deps all interpreters lint unit e2e sanitize fuzz allocations

# What failed comes last, where a log that is cut still has it.
unit_tests = meson test -C $(1) --no-rebuild --print-errorlogs || { \
	grep -aE '^(\[  (ERROR|FAILED)|\[   LINE|ERROR:|SUMMARY:)' $(1)/meson-logs/testlog.txt | tail -n 40; exit 1; }

unit: all
	@$(call unit_tests,build/main)

e2e: all interpreters $(VENV)/pytest build/go/grpcurl
	@scripts/install-deps.sh chromium
	@build/polyagent interpreter warm
	@$(VENV)/pytest -q -p no:cacheprovider tests/e2e tests/wasi tests/compile tests/hostile tests/fault

# The same tests over a build with AddressSanitizer and UndefinedBehaviorSanitizer. The engine handles
# SIGSEGV and SIGILL itself: they are how traps arrive.
SANITIZER_ENV := ASAN_OPTIONS=handle_segv=0:handle_sigill=0:handle_sigfpe=0:allocator_may_return_null=1 \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
sanitize: build/asan/build.ninja interpreters $(VENV)/pytest
	@ninja -C build/asan --quiet
	@$(SANITIZER_ENV) $(call unit_tests,build/asan)
	@$(SANITIZER_ENV) build/asan/src/polyagent interpreter warm
	@$(SANITIZER_ENV) POLYAGENT_BUILD=build/asan $(VENV)/pytest -q -p no:cacheprovider tests/e2e tests/wasi tests/compile tests/hostile

# cppcheck cannot follow the loops of <sys/queue.h>, of which supervisor and server are full, nor what never returns, as a
# refusal in the compiler: there, gcc's own warnings must do.
lint: build/main/build.ninja
	@clang-format --dry-run --Werror $$(git ls-files -co --exclude-standard '*.c' '*.h')
	@cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
		--suppress=unknownMacro '--suppress=uninitvar:src/supervisor/*' '--suppress=uninitvar:src/server/*' '--suppress=legacyUninitvar:src/server/*' \
		'--suppress=nullPointerRedundantCheck:src/compile/*' '--suppress=ctunullpointer:src/compile/*' -Iinclude -Isrc src
	@scripts/check-layers.py
	@tests/mutants/run.py --check

# What proves the claims of docs/security.md at length; `make test` has a sample of each.
# hostile: all cases with all layers, then again with each layer off. faults: every allocation, every system call, 1,000
# kills. fuzz, soak, chaos: for as long as T says. mutants: without each check, a test fails. determinism: 1,000 runs.
LAYERS := user_namespace mount_namespace pid_namespace net_namespace ipc_namespace uts_namespace cgroup_namespace cgroup \
	rlimits no_new_privs not_dumpable no_capabilities uid landlock seccomp
hostile: all interpreters $(VENV)/pytest
	@$(VENV)/pytest -q -p no:cacheprovider tests/hostile
	@for layer in $(LAYERS); do echo "without $$layer"; POLYAGENT_WITHOUT=$$layer \
		$(VENV)/pytest -q -p no:cacheprovider tests/hostile --ignore tests/hostile/test_layers.py || exit 1; done

ALLOCATIONS = once and main or compiled
allocations: all interpreters build/faulty/build.ninja $(VENV)/pytest
	@ninja -C build/faulty --quiet src/polyagent src/polyagent-net src/polyagent-worker src/polyagent-repl
	@POLYAGENT_BUILD=build/faulty $(VENV)/pytest -q -p no:cacheprovider tests/fault/test_allocations.py -k "$(ALLOCATIONS)"

faults: ALLOCATIONS = test
faults: allocations
	@POLYAGENT_FAULTS=all $(VENV)/pytest -q -p no:cacheprovider tests/fault

T := 10s
FUZZERS := $(patsubst tests/fuzz/%.c,tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz: build/fuzz/build.ninja
	@ninja -C build/fuzz --quiet $(FUZZERS)
	@tests/fuzz/run.py $(T)

mutants: all interpreters $(VENV)/pytest
	@tests/mutants/run.py

# hostile-soak: a tenant that attacks beside one that must not notice.
soak chaos hostile-soak: all interpreters $(VENV)/pytest
	@$(VENV)/python tests/soak/soak.py --time $(T) $(if $(filter chaos,$@),--chaos) $(if $(filter hostile-soak,$@),--hostile)

# Both commands of the README in a new Debian root (as root; an hour).
fresh-machine:
	@scripts/fresh-machine.sh

proof: hostile faults mutants determinism fuzz soak hostile-soak fresh-machine

determinism: all interpreters $(VENV)/pytest
	@POLYAGENT_RUNS=1000 $(VENV)/pytest -q -p no:cacheprovider tests/e2e/test_determinism.py

format:
	@clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

deps:
	@scripts/install-deps.sh

interpreters: build/interpreters/manifest.yaml
build/interpreters/manifest.yaml: interpreters/manifest.yaml scripts/fetch-interpreters.py | all $(VENV)/python
	@$(VENV)/python scripts/fetch-interpreters.py build/polyagent interpreters/manifest.yaml build/interpreters
	@touch $@

bench: all interpreters $(VENV)/pytest
	@scripts/install-deps.sh hyperfine bubblewrap
	@bench/bench.py

install: all interpreters
	@DESTDIR=$(DESTDIR) meson install -C build/main --no-rebuild $(if $(DESTDIR),--quiet)
	@mkdir -p $(DESTDIR)$(PREFIX)/share/polyagent
	@cp -r --no-preserve=mode,ownership build/interpreters $(DESTDIR)$(PREFIX)/share/polyagent/
	@install -D -m 0644 config/polyagent.yaml $(DESTDIR)$(PREFIX)/share/doc/polyagent/polyagent.yaml

clean:
	@rm -rf build/main build/asan

$(ENGINE): engine/Cargo.toml engine/Cargo.lock engine/build.rs engine/src/lib.rs
	cd engine && CARGO_TARGET_DIR=../build/engine cargo build --release --locked
	@touch $@

build/main/build.ninja: $(ENGINE)
	@meson setup build/main . > build/meson.log || { cat build/meson.log; exit 1; }
	@ln -sfn ../../interpreters build/main/src/interpreters

build/asan/build.ninja: $(ENGINE)
	@meson setup build/asan . -Db_sanitize=address,undefined -Db_lundef=false > build/meson-asan.log \
		|| { cat build/meson-asan.log; exit 1; }
	@ln -sfn ../../interpreters build/asan/src/interpreters

build/faulty/build.ninja: $(ENGINE)
	@meson setup build/faulty . -Dfaults=true > build/meson-faulty.log || { cat build/meson-faulty.log; exit 1; }
	@ln -sfn ../../interpreters build/faulty/src/interpreters

build/fuzz/build.ninja: $(ENGINE)
	@CC=clang meson setup build/fuzz . -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=false \
		> build/meson-fuzz.log || { cat build/meson-fuzz.log; exit 1; }

# Of the Go tools only their names and versions are ours.
build/go/grpcurl:
	@GOBIN=$(CURDIR)/build/go go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.1
build/go/ghz:
	@GOBIN=$(CURDIR)/build/go go install github.com/bojand/ghz/cmd/ghz@v0.120.0

$(VENV)/python:
	@python3 -m venv build/venv || { rm -rf build/venv; exit 1; }

$(VENV)/pytest: tests/requirements.txt | $(VENV)/python
	@$(VENV)/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@
