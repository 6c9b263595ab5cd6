# Each target does all of its own set-up; `make help` lists them.
#   PYTHON   the Python that .venv is made of, and that `make gpu` uses (default: python3)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SMALL  := T50d or T97d or T33d or T3d or chunks
OUT    := build/bench
GPU_CONTENDERS := eager "eager rows" compile "ours triton" "ours cuda" "eager again"
GPU_STREAMS := "ours triton operator" "ours triton StackStream" "ours cuda operator" "ours cuda StackStream"
CSRC   := $(shell find csrc -type f)

# What `make gpu` does, in this order: of a GPU that is lent for minutes the first four parts make the most.
GPU_PARTS := build check first predictions calibrate bench test sanitize profile tune
.PHONY: help install demo clean-demo test test-quick sass mutations fuzz lint docs bench gpu gpu-again $(GPU_PARTS:%=gpu-%) clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     synthesise sounds, train a classifier on them, evaluate it, predict (minutes)"
	@echo "make test     the tests"
	@echo "make test-quick  each of them once on each backend, without the slow ones, in minutes"
	@echo "make sass     the GPU kernels' machine code on the CPU, on all cases: an hour (make test: on a few)"
	@echo "make mutations  each barrier and wait of the CUDA kernels taken out of their machine code: it must be missed"
	@echo "make fuzz     the C library against model files that mean harm, by libFuzzer, FUZZ_SECONDS (600) long"
	@echo "make lint     formatting, lint, types, import rules"
	@echo "make docs     the documentation as a site, in build/site; strict: what is broken fails"
	@echo "make bench    the operators against reference implementations, minutes; results in OUT (build/bench)"
	@echo "make gpu      build, tests and benchmarks on a GPU, with the torch of $(PYTHON), what matters most first; no network"
	@echo "              stopped at any moment, it goes on with the part that it was at; \`make gpu-again\` starts anew"
	@echo "make install  .venv with everything in it; done again when what it is built from changes"
	@echo "make clean    remove .venv, builds and caches"

install: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The build requirements come first and the build is not isolated: it stays incremental. What takes longest, compiling
# for every chip and fetching the packages, is done side by side; the last line finds both done. Most of the packages'
# files are never imported, so that Python compiles those that are when they are.
$(STAMP): pyproject.toml setup.py CMakeLists.txt constraints.txt $(CSRC) | $(BIN)/python
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt setuptools pybind11 cmake ninja
	$(BIN)/python setup.py -q build_ext --inplace & build=$$!; \
	    $(BIN)/python -m pip install -q --no-compile -r constraints.txt && wait $$build
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt --no-build-isolation -e ".[app,classifier,dev,export,triton]"
	touch $@

# Killed half-way, it goes on where it was; `make clean-demo` starts it anew.
demo: install
	$(BIN)/wavenet synth runs/demo-data
	$(BIN)/wavenet train --config demo --data runs/demo-data --out runs/demo --resume
	$(BIN)/wavenet evaluate runs/demo --split test
	$(BIN)/wavenet predict runs/demo runs/demo-data/*/*_0002.wav
	@echo
	@echo "The model is in runs/demo. To use it:"
	@echo "  $(BIN)/wavenet predict runs/demo FILE_OR_FOLDER ...      what are these recordings?"
	@echo "  $(BIN)/wavenet info runs/demo                            what is this model?"
	@echo "  $(BIN)/wavenet train --config demo --data FOLDER --out runs/mine"
	@echo "                                                           train on recordings of your own"
	@echo "  python: import wavenet; model = wavenet.load_model('runs/demo')"

clean-demo:
	rm -rf runs/demo runs/demo-data

test: install
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal --durations=25

# Each test once on each backend, and none that takes long: for daily work.
test-quick: install
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal --quick

# What tests/sass runs of a few cases in `make test`, of all of them.
sass: install
	WAVENET_SASS_ALL=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal tests/sass

mutations: install
	WAVENET_SASS_ALL=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 tests/sass/test_mutations.py

# Needs a clang++ that has libFuzzer. Stopped or done, the next run goes on with the files that it found.
FUZZ_SECONDS ?= 600
fuzz: install
	$(BIN)/python -m benchmarks fuzz --seconds $(FUZZ_SECONDS)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typed/user.py
	$(BIN)/basedpyright --project tests/typed --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e ".[docs]"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m mkdocs build --quiet --strict

# A selection that takes minutes; `python -m benchmarks run` alone measures everything.
BENCH := $(BIN)/python -m benchmarks run --out $(OUT)
bench: install
	$(BENCH) stack --workloads reference small flow --passes forward step \
	    --contenders eager compile "ours cpu" "eager again"
	$(BENCH) streaming --workloads reference reference-1 amplifier
	$(BENCH) overhead --passes forward step --contenders eager compile "ours cpu" "eager again"
	$(BENCH) scaling --passes forward step --longest 10000 --contenders eager "ours cpu" "eager again"
	$(BIN)/python -m benchmarks report $(OUT)

# Each part is a target of its own, too: gpu-build, gpu-check, ... A part that fails does not stop the others, but for the
# build; which have failed is said at the end. What is done of these very sources is not done again.
GPU := PYTHONPATH=.:python_api $(PYTHON) -m
GPU_SOURCES = $(shell find csrc wavenet_kernels python_api benchmarks tests -name '*.py' -o -path 'csrc/*' -type f | sort)
GPU_DONE = build/gpu-done/$(firstword $(shell cat $(GPU_SOURCES) Makefile | cksum))
gpu:
	@done=$(GPU_DONE); mkdir -p $$done; failed=; \
	for part in $(GPU_PARTS); do \
	    if [ -e $$done/$$part ]; then echo "make gpu: $$part is done already"; continue; fi; \
	    echo "make gpu: $$part"; \
	    if make --no-print-directory gpu-$$part; then touch $$done/$$part; \
	    elif [ $$part = build ]; then exit 1; \
	    else failed="$$failed $$part"; fi; \
	done; \
	if [ -n "$$failed" ]; then echo "make gpu: failed:$$failed; again: make gpu"; exit 1; fi

gpu-again:
	rm -rf build/gpu-done
	$(MAKE) gpu

# The build is plain CMake, in place (pybind11 is all it needs of Python), and the tree is used as it is.
gpu-build:
	cmake -S . -B build/gpu -DPython_EXECUTABLE="$$(command -v $(PYTHON))" \
	    -DWAVENET_KERNELS_CUDA=1 -DWAVENET_KERNELS_CUDA_ARCHS=native
	cmake --build build/gpu --parallel "$${CMAKE_BUILD_PARALLEL_LEVEL:-$${MAX_JOBS:-$$(nproc)}}"

# Both backends on a stack, forward and backward, in every dtype, and CUDA graphs: a minute. All: gpu-test.
gpu-check:
	$(GPU) pytest -q -m gpu tests/wavenet_kernels/test_operators.py tests/wavenet_kernels/test_cuda_kernels.py \
	    -k "(residual_stack and (K2T50d1 or T97d)) or captured"

gpu-test:
	$(GPU) pytest -q -m gpu tests/wavenet_kernels

gpu-sanitize:
	@if compute-sanitizer $(PYTHON) -c "import torch; torch.zeros(1, device='cuda')" >/dev/null 2>&1; then \
	    for tool in memcheck racecheck; do \
	        PYTHONPATH=.:python_api PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
	            compute-sanitizer --tool $$tool --error-exitcode 1 $(PYTHON) -m pytest -q -m gpu \
	            tests/wavenet_kernels/test_operators.py tests/wavenet_kernels/test_cuda_kernels.py \
	            -k "$(SMALL)" || exit 1; \
	    done; \
	else echo "compute-sanitizer is not on PATH or does not work here: that part was left out"; fi

# Each measurement writes when it is done, so that what was cut off costs only itself.
GPU_BENCH := $(GPU) benchmarks run --device cuda --dtype bfloat16 --out benchmarks/results
# The four workloads against eager PyTorch: gpu-bench measures them again, torch.compile beside, which takes minutes.
gpu-first:
	$(GPU_BENCH) stack --workloads small reference vocoder flow --contenders eager "ours triton" "ours cuda" "eager again"

# What the model said of them, in one table beside: benchmarks/results/predicted-and-measured.md
gpu-predictions:
	$(GPU) benchmarks predictions

gpu-bench:
	$(GPU_BENCH) stack --contenders $(GPU_CONTENDERS)
	$(GPU) benchmarks predictions
	$(GPU_BENCH) overhead streaming first-call --contenders $(GPU_CONTENDERS) $(GPU_STREAMS)
	$(GPU_BENCH) scaling --passes forward step --contenders eager "ours triton" "ours cuda" "eager again"
	$(GPU_BENCH) stack --workloads reference --out benchmarks/results/max-autotune
	$(GPU) benchmarks report benchmarks/results

gpu-profile:
	for backend in reference triton cuda; do \
	    $(GPU) benchmarks profile --backend $$backend --out benchmarks/results/profile-$$backend-cuda.json || exit 1; \
	done
	-$(GPU) benchmarks end-to-end fsdd --name synthesised-cuda --out benchmarks/results/end-to-end-synthesised-cuda.json

# What "auto" decides on for the four workloads, here.
gpu-calibrate:
	$(GPU) benchmarks calibration --dtype bfloat16 --out benchmarks/results

gpu-tune:
	$(GPU) benchmarks triton-tuning --out build/triton-tuning.json

clean:
	rm -rf $(VENV) build dist *.egg-info wavenet_kernels/_c*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find wavenet_kernels python_api tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
