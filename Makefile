PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
QUICK := runs/quickstart

.PHONY: help quickstart test lint format clean

help:
	@echo "make quickstart  install into .venv, learn the arrow of time on made-up clips, measure it, look at it"
	@echo "make test        everything that must hold: style, types, tests"
	@echo "make lint        style and types only"
	@echo "make format      put the code into its usual form"
	@echo "make clean       remove caches and what quickstart made"

# The stamps keep what is installed until pyproject.toml changes.
.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sslkit needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

# Without --data the toybox is made beside the run; four of its held-out clips are what `arrow` looks at.
quickstart: .venv/.installed
	$(BIN)/sslkit pretrain --task aot --out $(QUICK)/aot
	$(BIN)/sslkit probe $(QUICK)/aot --on $(QUICK)/toybox-* --init random --out $(QUICK)/probe
	@rm -rf $(QUICK)/clips $(QUICK)/arrow && mkdir -p $(QUICK)/clips
	@for shard in $(QUICK)/toybox-*/test-00000.tar; do \
		tar -tf $$shard | grep '\.mp4$$' | sort | head -n 4 > $(QUICK)/clips/list.txt; \
		tar -xf $$shard -C $(QUICK)/clips -T $(QUICK)/clips/list.txt; \
	done
	$(BIN)/sslkit arrow $(QUICK)/clips/*.mp4 --weights $(QUICK)/aot --out $(QUICK)/arrow
	@echo
	@echo "Open these:"
	@find $(QUICK) -name '*.html' | sort
	@find $(QUICK)/arrow -name '*.mp4' | sort

# Files of tests are shared out to JOBS processes, each of which needs up to 2 GB.
test: lint
	$(BIN)/pytest -n $(JOBS) --dist loadfile

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(QUICK) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find sslkit tests -name __pycache__ -type d -prune -exec rm -rf {} +
