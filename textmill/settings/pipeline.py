"""Settings of Apache Beam and of Kubeflow Pipelines."""

import re

from pydantic import Field, field_validator

from textmill.settings.group import Settings


class Beam(Settings):
    """How Apache Beam runs ExportArticles and Preprocess."""

    options: list[str] = Field(["--runner=FnApiRunner"], description="Beam's pipeline options, one '--name=value' each")


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

    @field_validator("image")
    @classmethod
    def _image_is_named_by_digest(cls, image: str) -> str:
        if image and not re.search(r"[^@]@sha256:[0-9a-f]{64}$", image):
            raise ValueError(
                f"'{image}' has no digest; write NAME@sha256:..., which 'docker inspect --format {{{{.RepoDigests}}}} {image}' shows"
            )
        return image
