"""Settings of `textmill watch`: when it trains and deploys."""

from typing import Literal

from pydantic import Field

from textmill.settings.group import Settings


class Watch(Settings):
    """When 'textmill watch' trains and deploys."""

    every_s: float = Field(300, gt=0, description="seconds between checks")
    on_start: bool = Field(False, description="train at the start if there is no version yet")
    new_articles: int = Field(
        100,
        ge=0,
        description="new or changed articles that start a new training; 0: off",
    )
    at_most_days: float = Field(
        7, ge=0, description="days after the last training until the next, if any article is new; 0: off"
    )
    approval_percent: float = Field(
        0,
        ge=0,
        le=100,
        description="percent of good ratings below which a new training starts; 0: off",
    )
    ratings: int = Field(20, ge=1, description="ratings of the served version needed before approval_percent applies")
    drift_percent: float = Field(
        5,
        ge=0,
        description="percent by which the served version's bits per byte on new articles may exceed its baseline; beyond it a new training starts; 0: off",
    )
    drift_articles: int = Field(
        20,
        ge=1,
        description="new articles needed to measure drift; at most five times as many are read",
    )
    again_percent: float = Field(
        80,
        ge=0,
        lt=100,
        description="an alarm is re-armed once its figure is back below this percent of its threshold",
    )
    cooldown_hours: float = Field(
        24, ge=0, description="hours after a training started by watch before approval or drift may start another"
    )
    runner: Literal["local", "beam", "kubeflow"] = Field("local", description="pipeline runner, as in 'textmill run'")
    deploy: Literal["ask", "if-better"] = Field(
        "ask", description="ask: report a better version in Staging and wait for a reviewer; if-better: promote it"
    )
