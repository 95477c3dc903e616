# SPDX-License-Identifier: MIT
# The front door: short names for what cmake, ctest and scripts/ do. `make help` lists them.

PREFIX ?= /usr/local
export PREFIX
# Installs missing Debian packages. DEPS=: skips that.
DEPS ?= scripts/install-deps
# For the demo: a fetched model, or tensors, .npy; empty: the small models.
export K V MODEL

.PHONY: all test demo judge coverage wheel test-python test-python-torch install clean help

all:
	@$(DEPS) build
	cmake --preset release
	cmake --build --preset release

test:
	@$(DEPS) build demo test
	@scripts/run-tests dev asan-ubsan

demo:
	@$(DEPS) build demo
	cmake --preset release
	cmake --build --preset release
	scripts/demo

# Not a part of the tests: it fetches 1.4 GB and takes hours on two cores. What was measured is kept.
judge:
	@$(DEPS) build demo
	cmake --preset release
	cmake --build --preset release
	models/judge $(MODELS)

coverage:
	@$(DEPS) build demo test coverage
	@find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	@scripts/run-tests coverage
	@cmake --build build/coverage --target coverage

# The Python package: its wheel, and tests of it in a fresh virtual environment, packages from pip's index.
wheel:
	@$(DEPS) build python
	scripts/build-wheel

test-python: all
	@$(DEPS) build python
	@scripts/test-python numpy

# Not a part of the tests: 2.6 GB are fetched unless pip has them.
test-python-torch: all
	@$(DEPS) build python
	@scripts/test-python torch

# Built first and by itself, so that only the copying needs the rights to write to PREFIX.
install:
	@test -f build/release/CMakeCache.txt || { echo "make install: run make first" >&2; exit 1; }
	case $$PREFIX in /*) ;; *) PREFIX=$$PWD/$$PREFIX ;; esac; cmake --install build/release --prefix "$$PREFIX"

clean:
	rm -rf build

help:
	@echo "make               build the library and the command into build/release"
	@echo "make test          build and run all tests, plain and under ASan and UBSan"
	@echo "make demo          what a compressed cache costs a small language model, and saves"
	@echo "make demo MODEL=smollm2       the same on a real one, which models/get fetches"
	@echo "make demo K=k.npy V=v.npy     your tensors in every format"
	@echo "make judge         three real language models, fetched, on every format: docs/choosing.md's tables"
	@echo "make coverage      run the tests and report which lines they reach"
	@echo "make wheel         build the Python package libtqkv into build/python/dist"
	@echo "make test-python   test it in a fresh virtual environment; make test-python-torch: with transformers"
	@echo "make install PREFIX=DIR       install what make built (DESTDIR works too)"
	@echo "make clean         remove build/"
	@echo "DEPS=: after any of them leaves the installed packages alone."
