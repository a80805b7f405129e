# Every target sets up what it needs: see tools/bootstrap.sh.

.POSIX:
.PHONY: help demo test lint types bench docs matrix simulate mutants soak chaos lab clean distclean
.SILENT:

PY = .venv/bin/python
# Passed on: make test ARGS='-k attach', make demo ARGS=--help
ARGS =
SEEDS = 1000
PYTHON ?=

help:
	echo 'make demo       attach a volume, die half way, watch it recover'
	echo 'make test       lint, types, and the tests of this tree'
	echo 'make lint       ruff check and ruff format --check'
	echo 'make types      mypy --strict, and the stubs against what is installed'
	echo 'make docs       run the examples, and build the site into build/docs/html'
	echo 'make bench      measure volflow beside its peers: ARGS=--quick, ARGS=--gate, ARGS=--help'
	echo 'make matrix     die at every point of every scenario, and again in its recovery'
	echo 'make mutants    take one safeguard out at a time, and see the tests fail'
	echo 'make simulate   play SEEDS= schedules of deaths, stalls, refusals and lost replies'
	echo 'make soak       kill and stop SECONDS= long what runs under load: WORKERS= on VOLUMES='
	echo 'make chaos      kill a conductor every 5 s amid OPERATIONS=, on each board'
	echo 'make lab        drivers on a real kernel, in a virtual machine that it builds and boots'
	echo 'make clean      remove what the tools cached and built; distclean: .venv too'
	echo 'ARGS= is passed on; PYTHON= names the interpreter that .venv is made of.'

demo:
	PYTHON='$(PYTHON)' tools/bootstrap.sh demo
	.venv/bin/volflow demo $(ARGS)

# The tests run also where lint or types fail, and last, so that their summary closes.
test:
	PYTHON='$(PYTHON)' tools/bootstrap.sh test
	failed=; \
	$(MAKE) -s lint || failed="$$failed lint"; \
	$(MAKE) -s types || failed="$$failed types"; \
	test -z "$$failed" || echo "volflow: failed:$$failed (above); going on with the tests" >&2; \
	$(PY) -m pytest -n 2 --dist loadgroup --ignore=tests/chaos $(ARGS) && test -z "$$failed"

lint:
	PYTHON='$(PYTHON)' tools/bootstrap.sh
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types:
	PYTHON='$(PYTHON)' tools/bootstrap.sh
	$(PY) -m mypy
	PYTHONWARNINGS=ignore MYPYPATH=typings $(PY) -m mypy.stubtest taskflow oslo_db --concise \
		--ignore-missing-stub --ignore-positional-only --mypy-config-file setup.cfg

bench:
	PYTHON='$(PYTHON)' tools/bootstrap.sh bench
	$(PY) -m benchmarks $(ARGS)

# Every point of the calls, and each STEP-th point of the recoveries that follow.
STEP = 1
matrix:
	PYTHON='$(PYTHON)' tools/bootstrap.sh
	$(PY) -m volflow.testing.matrix --double --step $(STEP) --report build/crash-matrix.json $(ARGS)

mutants:
	PYTHON='$(PYTHON)' tools/bootstrap.sh
	$(PY) -m tests.mutants $(ARGS)

simulate:
	PYTHON='$(PYTHON)' tools/bootstrap.sh
	$(PY) -m volflow.testing.simulation --seeds $(SEEDS) $(ARGS)

# Workers on a real PostgreSQL and a real tgtd, which are killed, too. ARGS=--seed=N for others.
SECONDS = 600
WORKERS = 4
VOLUMES = 200
soak:
	PYTHON='$(PYTHON)' tools/bootstrap.sh test
	$(PY) -m tests.soak --seconds $(SECONDS) --workers $(WORKERS) --volumes $(VOLUMES) $(ARGS)

# Conductors, boards and databases that are killed, stopped and cut off.
OPERATIONS = 1000
chaos:
	PYTHON='$(PYTHON)' tools/bootstrap.sh test
	$(PY) -m pytest -s tests/chaos --operations $(OPERATIONS) $(ARGS)

lab:
	PYTHON='$(PYTHON)' tools/bootstrap.sh lab
	$(PY) -m tests.lab $(ARGS)

# The examples first, since they need nothing but the package; ARGS= is theirs.
docs:
	PYTHON='$(PYTHON)' tools/bootstrap.sh docs
	$(PY) -m pytest --doctest-modules --doctest-glob='*.md' \
		--ignore=volflow/persistence/migrations --ignore=docs/conf.py --ignore=docs/extensions \
		volflow docs $(ARGS)
	$(PY) -m sphinx -q -E -W --keep-going -n -d build/docs/doctrees docs build/docs/html
	echo 'volflow: the site is in build/docs/html'

clean:
	rm -rf build dist volflow.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name '.?*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .tox
