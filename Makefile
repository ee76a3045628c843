# Everything starts here: `make demo` on a bare machine with Python 3.11 or 3.12 and make, nothing else.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

# Choose another interpreter with `make PYTHON=/path/to/python3.11 demo`.
PYTHON ?= $(or $(shell command -v python3.11 2>/dev/null),$(shell command -v python3.12 2>/dev/null),python3)
# Tests run in so many processes, each with services of its own.
JOBS ?= 2
LOCK := deploy/locks/$(if $(GPU),gpu,cpu).txt
BIN := .venv/bin
UV := $(BIN)/uv
# The environment is what the lock says: this stamp's name holds the lock's sums, so a warm `make` only looks for it.
SUM := $(shell cat $(LOCK) deploy/locks/bootstrap.txt | cksum | tr ' ' '-')
# Bytecode of what is used is written once here: a quarter of all modules, and not anew at each start.
WARM := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -W ignore
STAMP := .venv/installed-$(notdir $(basename $(LOCK)))-$(SUM)

# uv is told what pip is told, so that one setting serves both.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_INDEX_URL ?= $(PIP_INDEX_URL)
export UV_EXTRA_INDEX_URL ?= $(PIP_EXTRA_INDEX_URL)
export SSL_CERT_FILE ?= $(PIP_CERT)
export UV_HTTP_TIMEOUT ?= $(or $(PIP_DEFAULT_TIMEOUT),120)
unexport $(foreach name,UV_FIND_LINKS UV_INDEX_URL UV_EXTRA_INDEX_URL SSL_CERT_FILE,$(if $($(name)),,$(name)))

.PHONY: help demo test bench-stream bench-reasoner science faults install lint format map clean lock

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

demo: install ## Run the whole loop here; SECONDS=120 ends by itself with a summary
	@$(BIN)/rgalign demo $(if $(SECONDS),--seconds $(SECONDS))

test: install ## Run every test against a real Kafka and Valkey
	@$(BIN)/python -m deploy.model_zero
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

bench-stream: install ## Measure the stream beside its peers (25 min; QUICK=1 takes 5)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.stream

bench-reasoner: install ## Measure the reasoner beside its peers (25 min; QUICK=1 takes 5)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.reasoner

science: install ## Compare QE-Rec with its baselines in the simulated world (20 min; FULL=1 MINUTES=8 in stretches)
	@OMP_NUM_THREADS=1 $(BIN)/rgalign evaluate table --jobs $(JOBS) $(if $(FULL),--full) $(if $(MINUTES),--minutes $(MINUTES))

faults: install ## Break everything on purpose and close the books; ROWS=1,3 SEEDS=3 choose, a stopped run resumes
	@$(BIN)/python -m tests.faults

lint: install ## Check format, style, types and the import ladder
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports

format: install ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

map: install ## Write the README's file map anew
	@$(BIN)/python -m deploy.file_map --write

install: $(STAMP) ## Make .venv from the hash-pinned lock; GPU=1 for ONNX Runtime on CUDA

$(STAMP): | deploy/locks/bootstrap.txt $(LOCK)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else \
	"make: %s is Python %d.%d; this project needs 3.11 or 3.12: make PYTHON=/path/to/python3.11" % (sys.executable, *v))'
	@echo "Installing $(LOCK) into .venv (about 6 GB on Linux, nearly all of it torch's CUDA libraries)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/locks/bootstrap.txt
	@$(UV) pip sync --python $(BIN)/python --require-hashes $(LOCK) deploy/locks/bootstrap.txt
	@$(UV) pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --offline -e .
	@$(WARM) -c 'import stream.app, stream.embedder, stream.gateway, feast, pytest' & first=$$!; \
	$(WARM) -c 'import onnxscript, torch.onnx, training.trainer, transformers.models.llama.modeling_llama' && wait $$first
	@rm -f .venv/installed-*
	@touch $@

lock: install ## Resolve the locks anew from pyproject.toml
	@for kind in cpu gpu; do $(UV) pip compile pyproject.toml --extra $$kind --extra dev --universal --python-version 3.11 \
	    --generate-hashes --no-header --quiet --upgrade --output-file deploy/locks/$$kind.txt || exit 1; done

clean: ## Remove what is built and measured here, but not the environment and the cache
	rm -rf .out .dev build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
