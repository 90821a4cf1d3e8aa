"""The command: every mistake of a user is one sentence on stderr and exit code 2."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import textmill
from textmill.cli import app
from textmill.settings import yaml_file as configuration

COMMANDS = typer.main.get_command(app)
TEXTMILL = str(Path(sys.executable).with_name("textmill"))


def _type(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("TEXTMILL_MONGODB_URI", "MLFLOW_TRACKING_URI")
    }
    ran = subprocess.run(
        [TEXTMILL, *arguments], cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=240
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    configuration.write_template(tmp_path / "textmill.yaml", "http://127.0.0.1:9/", "nothing-there")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inti"], "No such command 'inti'. Did you mean 'init'?"),
        (["init"], "Missing argument 'URL'"),
        (["init", "gopher://old.example/"], "is not the URL of a web site"),
        (["init", "https://new.example/"], "textmill.yaml exists already"),
        (["init", "https://new.example/", "--name", "No Name"], "'No Name' is not a valid model name"),
        (["crawl"], "The article store is not running; start it with 'textmill up' or set TEXTMILL_MONGODB_URI."),
        (["run"], "is not running; start it with 'textmill up'"),
        (["run", "--runner", "cloud"], "There is no runner 'cloud'; choose local or beam."),
        (
            ["kubeflow", "compile", "--out", "pipeline.json"],
            "'pipeline.json' does not end in .yaml, as Kubeflow requires; name",
        ),
        (
            ["kubeflow", "submit"],
            "kubeflow.image is not set; set it to the image of the steps, by digest: NAME@sha256:...",
        ),
        (["watch"], "is not running; start it with 'textmill up'"),
        (["status"], "is not running; start it with 'textmill up'"),
        (["promote", "x"], "Invalid value for 'version': Input should be a valid integer"),
        (
            ["promote", "1", "--stage", "Live"],
            "There is no stage 'Live'; choose one of None, Staging, Production, Archived.",
        ),
        (["promote", "1", "--force"], "--force needs a reason"),
        (
            ["serve", "--config", "absent.yaml"],
            "There is no configuration at absent.yaml; create one with 'textmill init URL'.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_exit_code_2(folder: Path, arguments: list[str], said: str) -> None:
    code, _, error = _type(folder, *arguments)
    assert code == 2
    assert said in error
    assert error.startswith("textmill: ")
    assert error.count("\n") == 1


def test_a_store_that_does_not_answer_is_named(folder: Path) -> None:
    code, _, error = _type(
        folder,
        "crawl",
        TEXTMILL_MONGODB_URI="mongodb://a:secret@127.0.0.1:9/",
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )
    assert code == 2
    assert "The article store at mongodb://127.0.0.1:9/ does not answer" in error
    assert "secret" not in error


def test_an_mlflow_that_does_not_answer_is_named(folder: Path, mongodb_uri: str) -> None:
    code, _, error = _type(folder, "run", TEXTMILL_MONGODB_URI=mongodb_uri, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert code == 2
    assert "MLflow at http://127.0.0.1:9 does not answer" in error


def test_an_empty_store_says_to_crawl(folder: Path, mongodb_uri: str, mlflow_uri: str) -> None:
    (folder / "textmill.yaml").write_text(
        "name: empty\nsources: [{name: a, start: 'http://127.0.0.1:9/'}]\nstore: {database: empty}\n", encoding="utf-8"
    )
    code, _, error = _type(folder, "run", TEXTMILL_MONGODB_URI=mongodb_uri, MLFLOW_TRACKING_URI=mlflow_uri)
    assert code == 2
    assert "crawl first with 'textmill crawl'" in error


def test_a_site_that_is_down_is_named(folder: Path, mongodb_uri: str, mlflow_uri: str) -> None:
    code, _, error = _type(folder, "crawl", TEXTMILL_MONGODB_URI=mongodb_uri, MLFLOW_TRACKING_URI=mlflow_uri)
    assert code == 2
    assert "http://127.0.0.1:9/" in error


@pytest.mark.parametrize("command", [["serve"], ["generate", "Mills"]])
def test_no_version_in_production_is_said(folder: Path, command: list[str], mongodb_uri: str, mlflow_uri: str) -> None:
    code, _, error = _type(folder, *command, TEXTMILL_MONGODB_URI=mongodb_uri, MLFLOW_TRACKING_URI=mlflow_uri)
    assert code == 2
    assert (
        "No version of 'nothing-there' is in stage 'Production'. Promote one with 'textmill promote VERSION'." in error
    )


def test_a_port_in_use_is_named(folder: Path, mongodb_uri: str, mlflow_uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {"TEXTMILL_MONGODB_URI": mongodb_uri, "MLFLOW_TRACKING_URI": mlflow_uri}
        code, _, error = _type(folder, "serve", "--port", port, **environment)
    assert code == 2
    assert f"Port {port} on 127.0.0.1 cannot be used" in error


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--engine", "onx", "--engine: 'onx' is not valid: input should be 'onnxruntime' or 'ctranslate2'"),
        ("--workers", "500", "--workers: 500 is not valid: input should be less than or equal to 256"),
    ],
)
def test_a_wrong_option_of_the_server_is_named_in_the_terminal(
    folder: Path, option: str, value: str, said: str
) -> None:
    code, _, error = _type(folder, "serve", option, value)
    assert code == 2
    assert error.startswith(f"textmill: {said}; see 'textmill serve --help'.")


def test_help_has_every_command_in_a_group_with_its_whole_sentence(tmp_path: Path) -> None:
    code, printed, _ = _type(tmp_path, "--help", COLUMNS="80")
    assert code == 0
    assert "..." not in printed.split("\n", 1)[1]
    for name in COMMANDS.commands:  # type: ignore[attr-defined]
        assert f"\n  {name} " in printed, name
    assert [line for line in printed.splitlines() if line in ("Start:", "Corpus:", "Train:", "Review:", "Write:")]


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert _type(tmp_path, "--version") == (0, f"textmill {textmill.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "help_"),
    [
        (["run", "--stpes"], "textmill run"),
        (["kubeflow", "compile", "--x"], "textmill kubeflow compile"),
        (["x"], "textmill"),
    ],
)
def test_an_error_names_the_help_of_the_command_that_was_typed(
    tmp_path: Path, arguments: list[str], help_: str
) -> None:
    code, _, error = _type(tmp_path, *arguments)
    assert code == 2
    assert error.endswith(f"See '{help_} --help'.\n")
