"""The Kubernetes manifests as `kubectl kustomize` renders them: the few features of kustomize that they use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"


def documents(file: Path) -> list[dict[str, Any]]:
    """The objects of one file."""
    return [each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each]


def rendered(overlay: str) -> Iterator[dict[str, Any]]:
    """The objects of an overlay, patched, with its images' tags."""
    (wanted,) = documents(KUBERNETES / overlay / "kustomization.yaml")
    (base,) = documents(KUBERNETES / "base" / "kustomization.yaml")
    tags = {image["name"]: image["newTag"] for image in wanted["images"]}
    for name in base["resources"]:
        for each in documents(KUBERNETES / "base" / name):
            for patch in wanted["patches"]:
                target = patch["target"]
                if (each["kind"], each["metadata"]["name"]) == (target["kind"], target["name"]):
                    for change in yaml.safe_load(patch["patch"]):
                        _change(each, change)
            each["metadata"].setdefault("namespace", base["namespace"])
            for container in containers(each):
                container["image"] = (
                    f"{container['image'].partition(':')[0]}:{tags[container['image'].partition(':')[0]]}"
                )
            yield each


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of an object's pods."""
    return list(pod(manifest).get("containers", []))


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod's specification in an object that makes pods; empty elsewhere."""
    specification = manifest.get("spec", {})
    if "jobTemplate" in specification:
        specification = specification["jobTemplate"]["spec"]
    found = specification.get("template", {}).get("spec", {})
    return dict(found) if isinstance(found, dict) else {}


def _change(each: dict[str, Any], change: dict[str, Any]) -> None:
    """One operation of a JSON patch (RFC 6902), `add` or `replace`."""
    *path, last = [part.replace("~1", "/") for part in change["path"].strip("/").split("/")]
    place: Any = each
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place[part]
    assert change["op"] == "add" or last in place, f"{change['path']} is not there to be replaced"
    place[last] = change["value"]
