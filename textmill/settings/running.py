"""Where the pipeline runs, and when without being asked."""

import re
from typing import Literal

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


class Watch(Settings):
    """When 'textmill watch' trains and deploys."""

    every_s: float = Field(300, gt=0, description="seconds between two looks")
    on_start: bool = Field(False, description="train when watching starts and there is no version yet")
    new_articles: int = Field(
        100,
        ge=0,
        description="new or changed articles since the last training that are worth another; 0: never by number",
    )
    at_most_days: float = Field(
        7, ge=0, description="days after the last training that another is due; 0: never by time"
    )
    approval_percent: float = Field(
        0,
        ge=0,
        le=100,
        description="share of good ratings, in percent, below which the served version is trained anew; 0: not asked",
    )
    ratings: int = Field(20, ge=1, description="ratings of the served version before they count")
    drift_percent: float = Field(
        5,
        ge=0,
        description="how much higher, in percent, the served version's bits per byte on newly crawled articles may be than its baseline; 0: not asked",
    )
    drift_articles: int = Field(
        20,
        ge=1,
        description="newly crawled articles before their bits per byte count, and at most five times as many are read",
    )
    again_percent: float = Field(
        80,
        ge=0,
        lt=100,
        description="an alarm that went off is armed again when its figure is back below this share, in percent, of its bound",
    )
    cooldown_hours: float = Field(
        24, ge=0, description="hours after a training that watching started before approval or drift may start another"
    )
    runner: Literal["local", "beam", "kubeflow"] = Field(
        "local", description="what runs the pipeline, as in 'textmill run'"
    )
    deploy: Literal["ask", "if-better"] = Field(
        "ask", description="ask: say which version in Staging is better and wait for a reviewer; if-better: promote it"
    )
