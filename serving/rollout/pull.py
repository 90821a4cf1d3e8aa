"""Fetch the model that a worker container serves, then become the worker.

    python -m serving.rollout.pull --into DIR [--model stage:Production] [--name NAME] [--baked DIR] [--run WORKER-OPTION...]

The stage is resolved once, to one version, whose files are checked against its manifest. TEXTMILL_MODEL and
TEXTMILL_MODEL_NAME stand for `--model` and `--name`; MLFLOW_TRACKING_URI says where MLflow is. An image that has a model
baked in serves that and asks nobody. While MLflow does not answer or nothing is in the stage, it waits: containers start in
any order. Workers may share the folder: a version stays there while any of them serves it, and so do the two used last.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from textmill.gpt2.formats import bundle
from textmill.ground.environment import MLFLOW, address
from textmill.ground.errors import TextmillError, UserError
from textmill.registry.bundle_cache import prune
from textmill.registry.mlflow_client import LoginRefused
from textmill.registry.model_registry import ModelRegistry, Version

_log = logging.getLogger(__name__)
_AGAIN_S = 5.0
_KEEP = 2  # bundles that no worker serves any more


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, print the bundle's folder, or become the worker; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    logging.Formatter.converter = time.gmtime
    try:
        directory, checksum = _model(options)
        name = options.name or bundle.read_json(directory, bundle.LINEAGE).get("name")
    except TextmillError as error:
        print(f"textmill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if options.run is not None:
        worker = [sys.executable, "-P", "-m", "serving.worker", "--bundle", str(directory), "--checksum", checksum]
        os.execv(sys.executable, [*worker, *(["--name", name] if name else []), *options.run])
    print(directory)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.rollout.pull", description="Fetch a model and serve it.")
    add, environment = parser.add_argument, os.environ.get
    add("--into", type=Path, required=True, help="folder for the bundles that are fetched")
    add("--model", default=environment("TEXTMILL_MODEL") or "stage:Production", help="stage:STAGE or version:NUMBER")
    add("--name", default=environment("TEXTMILL_MODEL_NAME", ""), help="the registered model's name")
    add("--baked", type=Path, help="folder that has a bundle in images made with one")
    add("--run", nargs=argparse.REMAINDER, help="become a worker, with these options of serving.worker")
    return parser


def _model(options: argparse.Namespace) -> tuple[Path, str]:
    """The folder of the bundle to serve, verified, and its checksum.

    Raises:
        UserError: it is damaged, or neither `name` nor MLflow's address is given.
    """
    if options.baked and (options.baked / bundle.MANIFEST).exists():
        return options.baked, bundle.verify(options.baked)
    if not options.name:
        raise UserError("No model is named; set TEXTMILL_MODEL_NAME to the registered model's name, or give --name.")
    registry = ModelRegistry(address(MLFLOW), options.name)
    version = wait_for(registry, options.model)
    _log.info("Version %s of '%s' is fetched.", version.number, version.name)
    held = registry.hold(version, options.into)
    held.keep_through_exec()
    if deleted := prune(options.into, _KEEP):
        _log.info("Bundles deleted because nobody uses them: %s.", ", ".join(deleted))
    return held.directory, version.checksum


def wait_for(registry: ModelRegistry, model: str, every_s: float = _AGAIN_S) -> Version:
    """The version that `stage:STAGE` or `version:NUMBER` names, as soon as there is one.

    Raises:
        UserError: `model` is neither of them, or MLflow does not take the login, which waiting would not change.
    """
    kind, _, which = model.partition(":")
    if kind not in ("stage", "version") or not which or (kind == "version" and not which.isdecimal()):
        raise UserError(f"'{model}' names no model; write stage:Production or version:7.")
    said = ""
    while True:
        problem = f"No version of '{registry.name}' is in stage '{which}'."
        try:
            found = registry.resolve(which) if kind == "stage" else registry.version(int(which))
        except LoginRefused:
            raise
        except TextmillError as error:
            found, problem = None, str(error)
        if found is not None:
            return found
        if problem != said:
            _log.warning("%s It is looked for every %.0f s.", problem, every_s)
        said = problem
        time.sleep(every_s)


if __name__ == "__main__":
    sys.exit(main())
