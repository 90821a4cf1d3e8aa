# The two commands are `make demo` and `make test`; both install what they need on the first call.
PYTHON ?= python3
BIN := .venv/bin
# compiled modules are kept: TensorFlow would else take three times as long to import
unexport PYTHONDONTWRITEBYTECODE
LOCK := requirements.lock
INSTALLED := .venv/.installed

.PHONY: demo test check install lock clean

demo: $(INSTALLED)
	@$(BIN)/python examples/demo.py $(if $(CI),--check)

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(INSTALLED)

# uv is taken from the machine, or else from the package index into the virtual environment
$(INSTALLED): $(LOCK) pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "Python's venv module is missing; install it with: apt-get install python3-venv" >&2; exit 2; }
	@command -v uv >/dev/null || test -x $(BIN)/uv || { echo "Fetching uv"; $(BIN)/python -m pip install --quiet uv; }
	@echo "Installing the locked dependencies (about 4 GB, a minute or two)"
	@PATH="$$PATH:$(BIN)" uv pip sync --quiet --compile-bytecode --python $(BIN)/python $(LOCK)
	@PATH="$$PATH:$(BIN)" uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# resolve the dependencies afresh; the lock records no download addresses
lock:
	@PATH="$$PATH:$(BIN)" uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" --override requirements-overrides.txt \
		--extra pipeline --extra serve --extra local --extra dev pyproject.toml --output-file $(LOCK)

clean:
	rm -rf .venv .textmill
