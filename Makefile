# make            what there is
# make cluster    three sheep on this machine, with a VDI served over NBD
# make test       everything that CI runs

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= $(or $(TOX_CONSTRAINTS_FILE),constraints.txt)

# The demo cluster: where it keeps its state, and its first ports.
RUN ?= run
PORT ?=
NBD_PORT ?=

# Options of `make bench`, see its --help.
BENCH ?=

# How long `make soak` goes on.
SOAK_MINUTES ?= 60

# How long `make thrash` goes on; more of its options, see its --help.
THRASH_MINUTES ?= 60
THRASH ?=

# How long `make moments` goes on, and its options; those of `make scale`.
MOMENTS_MINUTES ?= 1
MOMENTS ?=
SCALE ?=

# How long `make fuzz` goes on, and on which target (empty: all in turn).
SECONDS ?= 600
TARGET ?=

# pbr takes the version from git tags, and refuses a tree without history.
ifndef PBR_VERSION
ifeq ($(shell git describe --tags 2>/dev/null),)
export PBR_VERSION := 0.1.0.dev0
endif
endif

BIN := $(VENV)/bin
DEMO := $(BIN)/python -m tools.demo_cluster --directory $(RUN) \
	$(if $(PORT),--port $(PORT)) $(if $(NBD_PORT),--nbd-port $(NBD_PORT))

.PHONY: help install install-tests install-docs packages \
	cluster stop clean-cluster \
	test check unit contract sim functional bench soak thrash moments scale fuzz audit docs config manual clean

help:
	@echo 'make install        sheep, dog and sheepdog-manage in $(BIN)'
	@echo 'make cluster        three sheep on this machine, one VDI, NBD'
	@echo 'make stop           stop them; the data stays in $(RUN)/'
	@echo 'make clean-cluster  stop them and remove $(RUN)/'
	@echo
	@echo 'make test           everything below, system packages included'
	@echo 'make check          pep8, layers, bandit, audit: seconds'
	@echo 'make unit           one module each (also: contract, sim)'
	@echo 'make functional     real daemons, coordination servers, clients'
	@echo 'make bench          numbers: a table, and JSON'
	@echo 'make soak           the simulator for SOAK_MINUTES=$(SOAK_MINUTES)'
	@echo 'make thrash         real sheep under load and trouble, THRASH_MINUTES=$(THRASH_MINUTES)'
	@echo 'make moments        snapshots each second while sheep are killed'
	@echo 'make scale          2,000 VDIs, 500 snapshots, 500 clones'
	@echo 'make fuzz           the fuzzers for SECONDS=$(SECONDS); TARGET=one of them'
	@echo 'make audit          known holes in what we depend on, asked online'
	@echo 'make docs           doc/build/html'
	@echo 'make config         etc/sheepdog/sheepdog.conf.sample'
	@echo 'make manual         doc/man and etc/completion'
	@echo 'make clean          remove what building left'

# What the tree's dependencies are, apart from its own code (the installation
# is editable: new code needs no new one).
DECLARED := setup.cfg pyproject.toml requirements.txt $(CONSTRAINTS) \
	tools/make_venv.py

$(VENV)/.installed: $(DECLARED)
	@echo 'Installing into $(VENV); the first time takes a minute or two'
	@$(PYTHON) tools/make_venv.py -c $(CONSTRAINTS) $(VENV)
	@touch $@

$(VENV)/.installed-tests: $(VENV)/.installed test-requirements.txt
	@$(PYTHON) tools/make_venv.py -c $(CONSTRAINTS) \
		-r test-requirements.txt $(VENV)
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed doc/requirements.txt
	@$(PYTHON) tools/make_venv.py -c $(CONSTRAINTS) \
		-r doc/requirements.txt $(VENV)
	@touch $@

install: $(VENV)/.installed

install-tests: $(VENV)/.installed-tests

install-docs: $(VENV)/.installed-docs

packages: install-tests
	@$(BIN)/python -m tools.system_packages

cluster: install
	@$(DEMO) start

stop:
	@if [ -x $(BIN)/python ]; then $(DEMO) stop; fi

clean-cluster:
	@if [ -x $(BIN)/python ]; then $(DEMO) clean; fi

test: packages install-docs
	@$(BIN)/python -m tools.run_tests

check: install-tests
	@$(BIN)/python -m tools.run_tests pep8 layers bandit audit

unit contract sim: install-tests
	@$(BIN)/python -m tools.run_tests $@

functional: packages
	@$(BIN)/python -m tools.run_tests functional interop

bench: install-tests
	@$(BIN)/python -m bench $(BENCH)

soak: install-tests
	@$(BIN)/python -m tools.soak --minutes $(SOAK_MINUTES)

thrash: packages
	@$(BIN)/python -m sheepdog.tests.thrash --minutes $(THRASH_MINUTES) $(THRASH)

moments: packages
	@$(BIN)/python -m sheepdog.tests.moments --minutes $(MOMENTS_MINUTES) $(MOMENTS)

scale: packages
	@$(BIN)/python -m sheepdog.tests.scale $(SCALE)

fuzz: install-tests
	@$(PYTHON) tools/make_venv.py -c $(CONSTRAINTS) \
		-r fuzz/requirements.txt $(VENV)
	@$(BIN)/python -m fuzz --seconds $(SECONDS) \
		$(if $(TARGET),--target $(TARGET))

audit: install-tests
	@$(BIN)/python -m tools.audit --online

docs: install-tests install-docs
	@$(BIN)/python -m tools.run_tests docs
	@echo 'doc/build/html/index.html'

config: install
	@$(BIN)/oslo-config-generator \
		--config-file etc/sheepdog/sheepdog-config-generator.conf

manual: install
	@$(BIN)/python -m tools.manual

clean:
	@rm -rf doc/build releasenotes/build cover test-results .stestr \
		.hypothesis build dist *.egg-info
	@find sheepdog tools -name __pycache__ -prune -exec rm -rf {} +
