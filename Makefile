# `make help` lists what there is.

PYTHON ?= python3
PORT ?= 3000
HOST = 127.0.0.1
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready

# dvc.yaml calls `python`, which must be the one of this environment
export PATH := $(BIN):$(PATH)
# no telemetry; Prefect's database in this folder
export DO_NOT_TRACK ?= 1
export DVC_NO_ANALYTICS ?= 1
export GX_ANALYTICS_ENABLED ?= false
export BENTOML_DO_NOT_TRACK ?= True
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
export PREFECT_HOME ?= $(CURDIR)/.prefect

.PHONY: help install repro report check test soak benchmarks lint audit deps drawings notebook style serve retrain schedule recipe lock clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

repro: $(READY)  ## bring the data, run what is out of date, show the results
	@python -m stages.download
	@python -m flows.reproduce
	@kinoflow results

report: $(READY)  ## make the page of the results, reports/index.html
	@dvc repro --quiet report
	@echo "open reports/index.html in a browser"

check: $(READY) lint  ## style, types, structure and the quick tests, in under two minutes
	@python -m pytest -m "not slow" --durations 5 --durations-min 3

test: $(READY) lint  ## style, types, structure and all tests, with their coverage of the code
	@python -m slipcover -m pytest

soak: $(READY)  ## the long form of the attacks in tests/attack and of exports, with figures (about two hours)
	@python -m pytest --soak --numprocesses 0 --capture no --timeout 7200 tests/attack tests/test_compress.py tests/test_compress_prune.py

benchmarks: $(READY)  ## measure on this machine, into benchmarks/README.md
	@python -m benchmarks

deps: $(READY)  ## write into dvc.yaml which code each stage depends on
	@python -m stages.dependencies

lint: $(READY)  ## style, types and structure, without tests
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports

# --strict: a package that cannot be looked up is a failure, and not a package without advisories
audit: $(READY)  ## look for known holes in the packages of requirements.lock, on the network
	@uvx --quiet pip-audit@2.10.1 --strict --disable-pip --require-hashes -r requirements.lock \
	  $$(sed -n 's/^\([A-Z][^ ]*\) .*/--ignore-vuln \1/p' .ci/advisories.txt)

drawings: $(READY)  ## draw the imports and the pipeline into docs/architecture.md
	@python docs/drawings.py

notebook: $(READY)  ## run the notebooks and keep what their cells give
	@python -m notebooks.execute

style: $(READY)  ## train a CycleGAN between the two domains of `style` in params.yaml, and judge it
	@python -m stages.style_domains
	@python -m dvc --wait-for-lock repro --quiet style/dvc.yaml
	@python -m stages.style_gallery

serve: $(READY)  ## serve the packaged winner: make serve PORT=3000 HOST=0.0.0.0 KEYS=keys.json
	@python -m serving --host $(HOST) --port $(PORT) $(if $(KEYS),--keys $(KEYS))

retrain: $(READY)  ## run the Prefect flow once: refresh the data, reproduce, report, promote
	@python -m flows.retrain

schedule: $(READY)  ## start a Prefect server and run all flows on their schedules in params.yaml
	@python -m flows.deployments

recipe: $(READY)  ## run a published study: make recipe NAME=ucf50_lrcn; HONEST=1 keeps recordings whole
	@python -m flows.recipe $(NAME) $(if $(filter-out 0,$(HONEST)),--honest) $(SET:%=-S %)

install: $(READY)  ## make the environment in .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "error: kinoflow needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "installing into $(VENV) (about 3 GB, a minute or so)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock:  ## pin the newest versions that pyproject.toml allows in requirements.lock
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade -q -o requirements.lock

clean:  ## remove what the pipeline made, but not the data, the caches or the environment
	rm -rf work models dist recipes.work
	find reports -mindepth 1 -maxdepth 1 ! -name decision.json -exec rm -rf {} +
