"""The Kubernetes manifests: valid, consistent with one another and with the programs, and tight."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import KUBERNETES, ROOT, containers, documents, pod, rendered

from serving.worker import __main__ as worker
from textmill.ground.environment import MLFLOW, MONGODB
from textmill.settings import yaml_file as configuration
from textmill.settings.pipeline import Kubeflow

OVERLAYS = ("cpu", "gpu")


def _all(overlay: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in rendered(overlay)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_pass_a_strict_check_against_kubernetes_own_schemas(overlay: str, tmp_path: Path) -> None:
    program = shutil.which("kubernetes-validate")
    if program is None:
        pytest.skip("kubernetes-validate is not installed: pip install kubernetes-validate")
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(rendered(overlay)), encoding="utf-8")
    ran = subprocess.run([program, "--strict", str(file)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_renders_the_overlays_as_these_tests_do(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(KUBERNETES / overlay)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {}
    for each in yaml.safe_load_all(ran.stdout):
        assert each["metadata"]["labels"].pop("app.kubernetes.io/part-of") == "textmill"
        if not each["metadata"]["labels"]:
            del each["metadata"]["labels"]
        found[each["kind"], each["metadata"]["name"]] = each
    expected = _all(overlay)
    expected["Namespace", "textmill"]["metadata"].pop("namespace")  # it is in none
    assert found == expected


def test_passwords_come_from_the_secret_that_kubeflows_steps_read_too() -> None:
    settings = Kubeflow()
    for each in _all("cpu").values():
        for container in containers(each):
            for variable in container.get("env", []):
                if variable["name"] in (MLFLOW, MONGODB):
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert (reference["name"], reference["key"]) == (settings.secret, variable["name"])
    (claim,) = documents(KUBERNETES / "kubeflow" / "volume.yaml")
    assert claim["metadata"]["name"] == settings.volume


def test_the_volume_is_given_to_the_user_of_the_steps_image() -> None:
    (job,) = documents(KUBERNETES / "kubeflow" / "owner.yaml")
    settings, context = Kubeflow(), pod(job)["securityContext"]
    assert f"USER {context['runAsUser']}:{context['fsGroup']}\n" in (ROOT / "deploy/pipeline.Dockerfile").read_text(
        "utf-8"
    )
    (volume,) = pod(job)["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == settings.volume
    (listed,) = documents(KUBERNETES / "kubeflow" / "kustomization.yaml")
    assert listed["resources"] == ["volume.yaml", "owner.yaml"]


def test_policies_open_the_ports_that_pods_listen_on() -> None:
    def ports(name: str) -> set[int]:
        rules = _all("cpu")["NetworkPolicy", name]["spec"]["egress"]
        return {port["port"] for rule in rules for port in rule["ports"]}

    assert {3000, 443, 5000, 27017} <= ports("textmill-submit")  # 3000: ml-pipeline-ui's pod, behind its Service's 80
    assert {443, 5000} <= ports("textmill-api") & ports("textmill-worker")


def test_the_weekly_run_waits_until_there_is_an_image_for_its_steps(tmp_path: Path) -> None:
    found = _all("cpu")
    file = tmp_path / "textmill.yaml"
    said = found["ConfigMap", "textmill"]["data"]["textmill.yaml"]
    file.write_text(said, encoding="utf-8")
    assert found["CronJob", "textmill-submit"]["spec"]["suspend"] is (not configuration.load(file).kubeflow.image)
    with_image = said.replace(
        "# image: registry.example/me/textmill-pipeline@sha256:...", f"image: x@sha256:{'0' * 64}"
    )
    file.write_text(with_image, encoding="utf-8")
    assert configuration.load(file).kubeflow.image


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_runs_unprivileged_on_a_read_only_root(overlay: str) -> None:
    found = [each for each in rendered(overlay) if containers(each)]
    assert len(found) == 4
    for each in found:
        assert pod(each)["securityContext"]["runAsNonRoot"] is True
        assert pod(each)["automountServiceAccountToken"] is False
        for container in containers(each):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_the_gpu_overlay_runs_four_workers_with_a_gpu_each() -> None:
    found = _all("gpu")["Deployment", "textmill-worker"]
    (container,) = containers(found)
    assert found["spec"]["replicas"] == 4
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    assert container["args"][:2] == ["--device", "0"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_understands_its_arguments(overlay: str) -> None:
    (container,) = containers(_all(overlay)["Deployment", "textmill-worker"])
    options = worker._parser().parse_args(["--bundle", "/model", *container["args"]])
    assert options.slots == 8


def test_the_configuration_is_valid_and_finds_the_workers_by_their_service(tmp_path: Path) -> None:
    found = _all("cpu")
    file = tmp_path / "textmill.yaml"
    file.write_text(found["ConfigMap", "textmill"]["data"]["textmill.yaml"], encoding="utf-8")
    service = found["Service", "textmill-worker"]
    port = service["spec"]["ports"][0]["port"]
    assert configuration.load(file).serve.worker_urls == [f"dns:http://{service['metadata']['name']}:{port}"]
    assert service["spec"]["clusterIP"] == "None"  # one address for all workers would hide them from the API


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_selectors_name_pods_that_there_are(kind: str) -> None:
    found = _all("cpu")
    labels = [
        (each["spec"].get("jobTemplate", each))["spec"]["template"]["metadata"]["labels"]
        for each in found.values()
        if containers(each)
    ]
    for (each_kind, name), each in found.items():
        if each_kind != kind:
            continue
        selector = each["spec"].get("podSelector", each["spec"].get("selector", {}))
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= each.items() for each in labels), name


def test_a_mistyped_field_would_be_found(tmp_path: Path) -> None:
    program = shutil.which("kubernetes-validate")
    if program is None:
        pytest.skip("kubernetes-validate is not installed: pip install kubernetes-validate")
    wrong = yaml.safe_dump(_all("cpu")["Deployment", "textmill-api"]).replace("periodSeconds", "periodSecond")
    file = tmp_path / "wrong.yaml"
    file.write_text(wrong, encoding="utf-8")
    assert subprocess.run([program, "--strict", str(file)], capture_output=True).returncode == 1
