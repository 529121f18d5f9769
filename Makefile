# Two commands do everything on a bare machine with python3, git and make: `make demo`, `make test`.
# .venv is made from requirements.lock (hash-checked); nothing outside this folder is touched.

PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SPARK_VENV := .venv-spark
SPARK_STAMP := $(SPARK_VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: env env-spark demo test parity serve bench eval docs lint lock dist sbom audit clean

env: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; run: make env PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || \
		{ echo "python3 cannot make virtual environments; run: sudo apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

env-spark: $(SPARK_STAMP)  # the same with Apache Spark, for MTW_ENGINE=spark; downloads half a gigabyte, takes 1.9 of disk

$(SPARK_STAMP): requirements-spark.lock pyproject.toml | $(STAMP)
	@$(PYTHON) -m venv --clear $(SPARK_VENV) >/dev/null 2>&1
	@$(BIN)/uv pip install --quiet --python $(SPARK_VENV)/bin/python --require-hashes --compile-bytecode -r requirements-spark.lock
	@$(BIN)/uv pip install --quiet --python $(SPARK_VENV)/bin/python --no-deps --editable .
	@touch $(SPARK_STAMP)

demo: env
	@$(BIN)/mtw demo

# Where all tests have to run (CI), those of Spark have to as well, and the lock is audited where there is a service to ask.
test: env $(if $(MTW_TESTS_REQUIRE_ALL),env-spark) lint
	@$(if $(MTW_TESTS_REQUIRE_ALL),$(MAKE) --no-print-directory audit AUDIT=if-possible)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

parity: env env-spark  # DuckDB and Spark on a cluster of two workers, every mart, several builds
	@MTW_TESTS_CLUSTER=1 $(BIN)/python -m pytest tests/parity/test_cluster.py  # all that test_local.py has, and more

lint: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint --disable-progress-bar --processes 2 dbt_project
	@$(BIN)/mtw lint

serve: env
	@$(BIN)/mtw serve

bench: env
	@$(BIN)/python -m benchmarks

eval: env
	@$(BIN)/python -m benchmarks.verdicts

docs: env  # after a change of a report, the catalogue, or the sample: pages and pictures to commit, dbt's docs to read
	@$(BIN)/python -m report_docs

lock:  # after a change of dependencies in pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra postgres --extra reports --extra s3 --extra webhooks --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra s3 --extra spark --universal --python-version 3.11 --constraints requirements.lock \
		--generate-hashes --no-header --no-annotate --quiet --output-file requirements-spark.lock

dist: env  # wheel and sdist in dist/; the wheel is built from the sdist, so that both are complete
	@rm -rf dist
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist .
	@ls dist/*.whl dist/*.tar.gz

# In an environment of its own: what it brings along makes every start of Dagster and dbt take a second longer.
CYCLONEDX_VERSION := 7.5.0
SBOM := dist/sbom.cdx.json
sbom: env  # what requirements.lock holds, tools of development among it, as CycloneDX
	@mkdir -p $(dir $(SBOM))
	@PYTHONWARNINGS=ignore $(BIN)/uv tool run --quiet --from cyclonedx-bom==$(CYCLONEDX_VERSION) cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
		--validate --spec-version 1.6 --output-format JSON --output-file $(SBOM) requirements.lock
	@echo $(SBOM)

# Asks an advisory service on the network. AUDIT=if-possible, for CI behind a mirror: without an answer it says so and goes on.
PIP_AUDIT_VERSION := 2.10.1
audit: env
	@$(BIN)/python .ci/audit.py --pip-audit $(PIP_AUDIT_VERSION) $(if $(filter if-possible,$(AUDIT)),--skip-without-service)

clean:
	rm -rf $(VENV) $(SPARK_VENV) data dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
