"""Where the pipeline runs, and when without being asked."""

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
    namespace: str = Field("", description="namespace of a Kubeflow for several users; empty: for one")
    image: str = Field(
        "",
        description="container image of every step, by digest: registry.example/textmill@sha256:...; a tag could move under a run",
    )
    root: str = Field(
        "minio://mlpipeline/v2/artifacts/textmill",
        pattern=r"^(minio|s3|gs)://[^/]",
        description="folder for artifacts: minio://, s3:// or gs://, a bucket and a path",
    )
    secret: str = Field(
        "textmill",
        description="Kubernetes secret whose keys TEXTMILL_MONGODB_URI and MLFLOW_TRACKING_URI hold the addresses, passwords included",
    )
    volume: str = Field(
        "textmill-checkpoints",
        description="volume claim that outlives a step: checkpoints of trainings under way, and bases that were fetched",
    )
    gpus: int = Field(0, ge=0, description="GPUs that FineTune asks for")
    cpu: str = Field(
        "2", pattern=r"^\d+(\.\d+)?m?$", description="CPU cores that FineTune asks for, as Kubernetes writes them"
    )
    memory: str = Field(
        "8Gi",
        pattern=r"^\d+(Ki|Mi|Gi|Ti|K|M|G|T)?$",
        description="memory that FineTune asks for, as Kubernetes writes it",
    )

    @field_validator("image")
    @classmethod
    def _image_is_named_by_digest(cls, image: str) -> str:
        if image and not re.search(r"[^@]@sha256:[0-9a-f]{64}$", image):
            raise ValueError(
                f"'{image}' names no digest; write NAME@sha256:..., which 'docker inspect --format {{{{.RepoDigests}}}} {image}' shows"
            )
        return image
