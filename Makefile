# The words PostgreSQL people type. The work is done by cargo and by the scripts; `make help` lists the targets.
PG_CONFIG ?= pg_config
PG_SH = scripts/pg.sh

# demo and test take the embedded PostgreSQL unless PG_CONFIG was given on the command line or in the environment.
ifneq ($(filter command environment,$(subst command line,command,$(origin PG_CONFIG))),)
export PG_CONFIG
given = PG_CONFIG="$(PG_CONFIG)"
endif

.PHONY: all build install installcheck demo demo-ask demo-stop demo-clean test test-quick conformance differential upgrade docs clients examples reliability torture bench bench-full bench-gate bench-sql package deb package-test site fmt lint clean help

all: build

build:
	@$(PG_SH) build "$(PG_CONFIG)"

install:
	@DESTDIR="$(DESTDIR)" $(PG_SH) install "$(PG_CONFIG)"

installcheck:
	@scripts/installcheck.sh "$(PG_CONFIG)" $(REGRESS)

demo:
	@$(given) scripts/demo.sh run

demo-ask:
	@scripts/demo.sh ask $${WORDS:+"$$WORDS"}

demo-stop:
	@scripts/demo.sh stop

demo-clean:
	@scripts/demo.sh clean

test:
	@$(given) scripts/test.sh all

test-quick:
	@$(given) scripts/test.sh quick

conformance:
	@$(given) scripts/conformance.sh

differential:
	@scripts/differential.sh

upgrade:
	@scripts/upgrade.sh

docs:
	@$(given) scripts/docs.sh
	@scripts/site.sh check

clients:
	@$(given) scripts/clients.sh

examples:
	@$(given) scripts/examples.sh $(EXAMPLES)

reliability:
	@$(given) scripts/reliability.sh

torture:
	@scripts/torture.sh $(ONLY) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

bench:
	@scripts/bench.sh all $(if $(ONLY),--only "$(ONLY)") $(if $(RESULTS),--publish)

bench-full:
	@scripts/bench.sh full $(if $(ONLY),--only "$(ONLY)") $(if $(RESULTS),--publish)

bench-gate:
	@scripts/bench-gate.sh check

bench-sql:
	@scripts/bench-sql.sh

deb:
	@$(given) scripts/package.sh deb $(PG_MAJORS)

package:
	@$(given) scripts/package.sh tar $(PG_MAJORS)

package-test:
	@$(given) scripts/package.sh test $(PG_MAJORS)

site:
	@scripts/site.sh

fmt:
	@scripts/lint.sh fix

lint:
	@scripts/test.sh phase format
	@scripts/lint.sh
	@scripts/test.sh phase clippy-pure

clean:
	cargo clean
	rm -rf results

help:
	@echo 'make                        build for the PostgreSQL of PG_CONFIG (default: pg_config in the PATH)'
	@echo 'make install                install it there; DESTDIR is honoured; with sudo after `make` where needed'
	@echo 'make installcheck           run the regression tests on the running server of PGHOST, PGPORT, PGUSER'
	@echo 'make demo                   a private PostgreSQL with word vectors, and questions answered'
	@echo 'make demo-ask               ask its server your own words: WORDS="king - man + woman", or at a prompt'
	@echo 'make demo-stop, demo-clean  stop its server; remove its data'
	@echo 'make test                   every test, PostgreSQL 13 to 18 (PG_MAJORS="16 17" narrows it)'
	@echo 'make test-quick             lints, pure crates, one major'
	@echo 'make conformance            regression files and TAP tests of pgvector against this build'
	@echo 'make differential           generated SQL on the binary of pgvector and on this build, compared'
	@echo 'make upgrade                from the versions of pgvector to this one, and back'
	@echo 'make docs                   what the documents say, executed; links and commands looked up'
	@echo 'make clients                clients of pgvector in Python, Node and Rust against this build'
	@echo 'make examples               the examples, executed (EXAMPLES="products rag" chooses)'
	@echo 'make reliability            crashes, cancels, a standby, many clients, damaged files, recall floors'
	@echo 'make torture                the long forms: MINUTES=30, SEED=..., ONLY="reachable crash" (scripts/torture.sh --help)'
	@echo 'make bench                  hnsw and ivfflat beside pgvector, in minutes; report in results/ (RESULTS=1 writes benches/RESULTS.md)'
	@echo 'make bench-full             the same for hours: all operator classes, a million rows, growth'
	@echo 'make bench-gate             instructions of the pure crates against the committed counts'
	@echo 'make bench-sql              the SQL benchmark against pgvector'
	@echo 'make deb                    packages for Debian and Ubuntu in target/packages, one per major (PG_MAJORS="17")'
	@echo 'make package                archives for other systems, with an install.sh'
	@echo 'make package-test           makes both, looks at them, installs them into private servers'
	@echo 'make site                   the documents as pages in target/site'
	@echo 'make fmt, lint, clean       the usual'
