"""`watch`: when to train and deploy without being asked."""

from typing import Literal

from pydantic import Field

from textmill.settings.group import Settings


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
