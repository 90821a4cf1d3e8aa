"""Settings of Apache Beam and of Kubeflow Pipelines."""

import re
from typing import Literal

from pydantic import Field, field_validator

from textmill.settings.group import Settings


class Beam(Settings):
    """How Apache Beam runs ExportArticles and Preprocess."""

    options: list[str] = Field(["--runner=FnApiRunner"], description="Beam's pipeline options, one '--name=value' each")


class Toleration(Settings):
    """A taint of nodes on which a step may run, in Kubernetes' words."""

    key: str = Field("", description="the taint's key; empty with operator Exists: every taint")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="Exists: whatever the taint's value is")
    value: str = Field("", description="the taint's value")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field("", description="empty: every effect")


class Kubeflow(Settings):
    """Where and how Kubeflow Pipelines runs the steps."""

    host: str = Field(
        "",
        description="address of Kubeflow Pipelines, such as http://localhost:8080; its token comes from KF_PIPELINES_TOKEN",
    )
    namespace: str = Field("", description="namespace in a multi-user Kubeflow; empty: single-user")
    image: str = Field(
        "",
        description="container image of every step, by digest, as a tag could change during a run: registry.example/textmill@sha256:...",
    )
    root: str = Field(
        "minio://mlpipeline/v2/artifacts/textmill",
        pattern=r"^(minio|s3|gs)://[^/]",
        description="folder for artifacts: minio://, s3:// or gs://, then bucket and path",
    )
    secret: str = Field(
        "textmill",
        description="Kubernetes secret with the keys TEXTMILL_MONGODB_URI and MLFLOW_TRACKING_URI: addresses, passwords included",
    )
    volume: str = Field(
        "textmill-checkpoints",
        description="persistent volume claim for checkpoints and downloaded bases",
    )
    gpus: int = Field(0, ge=0, description="GPUs requested for FineTune")
    cpu: str = Field(
        "2", pattern=r"^\d+(\.\d+)?m?$", description="CPU cores requested for FineTune, in Kubernetes notation"
    )
    memory: str = Field(
        "8Gi",
        pattern=r"^\d+(Ki|Mi|Gi|Ti|K|M|G|T)?$",
        description="memory requested for FineTune, in Kubernetes notation",
    )

    node_selector: dict[str, str] = Field({}, description="labels of the nodes on which every step runs")
    tolerations: list[Toleration] = Field(
        [], description="taints of nodes that every step tolerates, each with key, operator, value and effect"
    )
    train_node_selector: dict[str, str] = Field(
        {}, description="labels that FineTune's node has besides, such as a GPU's"
    )
    train_tolerations: list[Toleration] = Field(
        [], description="taints that FineTune tolerates besides, such as a GPU's"
    )
    image_pull_secrets: list[str] = Field([], description="Kubernetes secrets for the image's registry")
    cache: bool = Field(
        True,
        description="reuse steps whose inputs are the same; false where a bucket's lifecycle rule deletes their artifacts",
    )
    retries: int = Field(2, ge=0, le=100, description="times that a failed or evicted step is started again")
    retry_after_s: int = Field(60, ge=0, description="seconds before a step is started again; doubled each time")

    @field_validator("image")
    @classmethod
    def _image_is_named_by_digest(cls, image: str) -> str:
        if image and not re.search(r"[^@]@sha256:[0-9a-f]{64}$", image):
            raise ValueError(
                f"'{image}' has no digest; write NAME@sha256:..., which 'docker inspect --format {{{{.RepoDigests}}}} {image}' shows"
            )
        return image
