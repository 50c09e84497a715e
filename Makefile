# The two commands of the README; both set everything up first and need only Python 3.11.
PYTHON ?= python3.11
BIN := .venv/bin
DEMO := demo
export OMP_NUM_THREADS ?= 2

.PHONY: demo test bench clean

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/nsd-bench simulate $(DEMO)/nsd
	$(BIN)/nsd-bench export demo --nsd-root $(DEMO)/nsd --out $(DEMO)/packages
	$(BIN)/nsd-bench validate $(DEMO)/packages/*.zip
	$(BIN)/nsd-bench info $(DEMO)/packages/demo-subj01.zip
	$(BIN)/nsd-bench train $(DEMO)/packages --baseline gabor-ridge --out $(DEMO)/models
	$(BIN)/nsd-bench submit $(DEMO)/models --package $(DEMO)/packages --out $(DEMO)/submissions
	$(BIN)/nsd-bench score $(DEMO)/submissions $(DEMO)/packages --out $(DEMO)/scores.json
	$(BIN)/nsd-bench report $(DEMO)/scores.json --package $(DEMO)/packages --submission $(DEMO)/submissions \
		--truth $(DEMO)/packages --out $(DEMO)/report.html --nsd-root $(DEMO)/nsd
	$(BIN)/nsd-bench flatmap $(DEMO)/packages --out $(DEMO)/flatmaps --nsd-root $(DEMO)/nsd --outlines streams \
		--scores $(DEMO)/scores.json --column share --height 400
	@echo "Open $(CURDIR)/$(DEMO)/report.html"

test: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

bench: .venv/tested
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# torch first and by its exact version: its CPU build is what everything here was measured with.
.venv/installed: setup.cfg pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable .[flat]
	touch $@

.venv/tested: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable .[dev]
	touch $@

clean:
	rm -rf .venv $(DEMO)
