# The two commands are `make demo` and `make test`; both install what they need on the first call.
PYTHON ?= python3
BIN := .venv/bin
# compiled modules are kept: TensorFlow would else take three times as long to import
unexport PYTHONDONTWRITEBYTECODE
LOCK := requirements.lock
INSTALLED := .venv/.installed

.PHONY: demo test check install docs peers airflow starter screenshots lock locks images push bake clean

demo: $(INSTALLED)
	@$(BIN)/python examples/demo.py $(if $(CI),--check)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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

# docs/ as a site with a search, in .docs/; a warning, such as a link that leads nowhere, is an error
docs: .venv-docs/.installed
	.venv-docs/bin/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going -c docs/site docs .docs
	@echo "The site is in .docs: python3 -m http.server --bind 127.0.0.1 --directory .docs 8090"

.venv-docs/.installed: docs/site/requirements.txt
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --requirement $<
	@touch $@

# what the benchmarks run beside, apart from ours; PEERS_OPTIONS is for pip, such as another index of torch's wheels
peers: .venv-peers/.installed

.venv-peers/.installed: benchmarks/requirements.txt
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet $(PEERS_OPTIONS) --requirement $<
	@touch $@

# Airflow wants an environment of its own: docs/airflow.md
airflow: .venv-airflow/.installed

.venv-airflow/.installed: examples/airflow/requirements.lock $(INSTALLED)
	@test -x .venv-airflow/bin/python || $(PYTHON) -m venv .venv-airflow
	@PATH="$$PATH:$(BIN)" uv pip sync --quiet --python .venv-airflow/bin/python $<
	@PATH="$$PATH:$(BIN)" uv pip install --quiet --python .venv-airflow/bin/python --no-deps --editable .
	@touch $@

# a small model to start from, of free texts: fetches them from Debian's packages, sees that none of them is the demo's, trains;
# for another language TEXTS names another list and STARTER another folder
TEXTS ?= examples/starter/packages.yaml
STARTER ?= .textmill/starter
starter: $(INSTALLED)
	$(BIN)/python examples/starter/build_pool.py --packages $(TEXTS) --out $(STARTER)/pool
	$(BIN)/python examples/starter/check_pool.py --pool $(STARTER)/pool examples/site
	$(BIN)/python examples/starter/pretrain.py --pool $(STARTER)/pool --out $(STARTER)

# the pictures in docs/images, from a demo that runs; wants Chromium
screenshots: $(INSTALLED)
	$(BIN)/python examples/pictures.py

# resolve the dependencies afresh; the lock records no download addresses
lock:
	@PATH="$$PATH:$(BIN)" uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" --override requirements-overrides.txt \
		--extra pipeline --extra serve --extra local --extra dev pyproject.toml --output-file $(LOCK)

# what images and light installs have: parts of the lock above, in the same versions
locks:
	@PATH="$$PATH:$(BIN)" sh deploy/locks/compile.sh

# BUILD may be docker, podman or buildah; IMAGES is the namespace at the hub, such as IMAGES=registry.example/me
BUILD ?= docker
IMAGES ?= localhost
TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' textmill/__init__.py)
DEVICE ?= cpu
images:
	@BUILD="$(BUILD)" IMAGES="$(IMAGES)" TAG="$(TAG)" DEVICE="$(DEVICE)" sh deploy/images.sh build $(ONLY)

push: images
	@BUILD="$(BUILD)" IMAGES="$(IMAGES)" TAG="$(TAG)" DEVICE="$(DEVICE)" sh deploy/images.sh push $(ONLY)

# an image with the Production model in it: fetches the version and builds; CONFIG names the configuration
CONFIG ?= textmill.yaml
bake:
	@BUILD="$(BUILD)" IMAGES="$(IMAGES)" TAG="$(TAG)" DEVICE="$(DEVICE)" sh deploy/images.sh bake "$(CONFIG)"

clean:
	rm -rf .venv .venv-docs .venv-peers .venv-airflow .docs .textmill
