"""When to train and when to deploy: decisions as functions of figures, so that a loop, Airflow and Kubeflow share them.

Two alarms start a training because what is served has become worse: readers' approval below a bound, and bits per byte
on newly crawled articles above the version's own baseline by a bound. An alarm goes off once: it is armed again only when
its figure has come back inside the bound by some way (hysteresis), whatever was trained or deployed meanwhile, and no
training by alarm starts within the cooldown after another. So a training that does not help is not repeated for ever.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from textmill.settings.watch import Watch

TRAIN, DEPLOY, ASK = "train", "deploy", "ask"
APPROVAL, DRIFT = "approval", "drift"
_RETRY_AFTER = timedelta(hours=1)  # a training that failed
_CLOCKS_DIFFER = timedelta(days=1)  # at most; a time further ahead says nothing


@dataclass(frozen=True, slots=True)
class Figures:
    """What stands where at one look."""

    time: datetime
    articles: int  # in the store, of the configured sources
    new_articles: int  # new or changed since what the newest version learned from
    newest: int = 0  # version, or 0
    trained: datetime | None = None  # when the newest version was registered
    production: int = 0  # version, or 0
    staged: int = 0  # version in Staging, or 0
    staged_against: str = ""  # what it was found better than: "version 3 in Production"
    ratings: int = 0  # of the version in Production
    approval_percent: float | None = None  # of them that approve
    drift_articles: int = 0  # crawled since the version in Production learned, and read by it
    bits_per_byte: float | None = None  # of the version in Production on them
    baseline: float | None = None  # its bits per byte when it was judged

    @property
    def drift_percent(self) -> float | None:
        """How much higher the bits per byte are than the baseline, in percent."""
        if self.bits_per_byte is None or not self.baseline:
            return None
        return 100 * (self.bits_per_byte / self.baseline - 1)

    def record(self) -> dict[str, Any]:
        """The figures that were there, by name."""
        figures = asdict(self) | {"drift_percent": self.drift_percent}
        del figures["time"]
        return {name: value for name, value in figures.items() if value not in (None, 0, "")}


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered from one look to the next."""

    started: datetime | None = None  # the last training that watching started
    failed: bool = False  # and whether it failed
    silent: tuple[str, ...] = ()  # alarms that went off, and are not armed again yet
    asked: int = 0  # the version that was last deployed, or a reviewer was last asked about
    newest: int = 0  # the newest version when that training started


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and why."""

    what: str  # train, deploy or ask
    why: str
    version: int = 0  # to deploy or to ask about
    alarm: str = ""  # that caused a training
    figures: dict[str, Any] = field(default_factory=dict)


def decide(
    figures: Figures, state: State, settings: Watch, first: bool = False, about: Collection[str] = (TRAIN, DEPLOY)
) -> tuple[list[Decision], State]:
    """What is to be done now, and what is to be remembered; at most one decision each to train and to deploy.

    Args:
        first: this is the first look since watching started.
        about: which of training and deploying is asked about; of the other nothing is decided.
    """
    state = rearmed(figures, _bounded(state, figures.time), settings)
    decisions = []
    if TRAIN in about and (training := should_train(figures, state, settings, first)):
        decisions.append(training)
        silent = {*state.silent, training.alarm} - {""}
        state = replace(state, started=figures.time, failed=False, silent=tuple(sorted(silent)), newest=figures.newest)
    if DEPLOY in about and (deployment := should_deploy(figures, state, settings)):
        decisions.append(deployment)
        state = replace(state, asked=deployment.version)
    return [replace(decision, figures=figures.record()) for decision in decisions], state


def should_train(figures: Figures, state: State, settings: Watch, first: bool = False) -> Decision | None:
    """Whether to train now: on start, for new articles, by the time, or for an alarm."""
    if state.failed and state.started and figures.time - state.started < _RETRY_AFTER:
        return None
    if not figures.articles:
        return None
    if not figures.newest and first and settings.on_start and not _under_way(figures, state):
        return Decision(TRAIN, f"there is no version yet, and {figures.articles} articles to learn from")
    return (
        _for_articles(figures, state, settings)
        or _by_time(figures, state, settings)
        or _for_alarm(figures, state, settings)
    )


def should_deploy(figures: Figures, state: State, settings: Watch) -> Decision | None:
    """Whether the version in Staging is to be deployed, or a reviewer asked; each version once."""
    if not figures.staged or figures.staged in (figures.production, state.asked):
        return None
    against = figures.staged_against or "what it was judged against"
    best = not figures.production or against == f"version {figures.production} in Production"
    if not best:
        why = f"version {figures.staged} was judged against {against}, but version {figures.production} serves now"
        return Decision(ASK, why, figures.staged)
    why = f"version {figures.staged} is better than {against}"
    return Decision(DEPLOY if settings.deploy == "if-better" else ASK, why, figures.staged)


def rearmed(figures: Figures, state: State, settings: Watch) -> State:
    """The state with those alarms armed again whose figure has come back far enough."""
    back = {alarm for alarm in state.silent if _level(alarm, figures, settings) <= settings.again_percent / 100}
    return replace(state, silent=tuple(alarm for alarm in state.silent if alarm not in back))


def _under_way(figures: Figures, state: State) -> bool:
    """Whether what watching started last has neither failed nor become a version yet."""
    if state.started is None or state.failed:
        return False
    return figures.newest <= state.newest  # no clock: MLflow's may differ from ours


def _bounded(state: State, time: datetime) -> State:
    """The state without times to come: a clock that was ahead holds nothing up for longer than a right one would."""
    return replace(state, started=time) if state.started and state.started > time else state


def _for_articles(figures: Figures, state: State, settings: Watch) -> Decision | None:
    if not settings.new_articles or figures.new_articles < settings.new_articles:
        return None
    if _under_way(figures, state) and _recent(figures, state, settings):  # elsewhere; it will learn from these
        return None
    return Decision(
        TRAIN, f"{figures.new_articles} new or changed articles; {settings.new_articles} are worth a training"
    )


def _by_time(figures: Figures, state: State, settings: Watch) -> Decision | None:
    times = [time for time in (figures.trained, state.started) if time]
    if not settings.at_most_days or not times or not figures.new_articles:
        return None
    last = max((time for time in times if time - figures.time < _CLOCKS_DIFFER), default=None)
    if last is None:
        return Decision(TRAIN, f"the last training is dated {max(times):%Y-%m-%d}, by a clock that was ahead")
    days = (figures.time - last) / timedelta(days=1)
    if days < settings.at_most_days:
        return None
    return Decision(TRAIN, f"the last training was {days:.1f} days ago, and {figures.new_articles} articles are new")


def _for_alarm(figures: Figures, state: State, settings: Watch) -> Decision | None:
    if not figures.production or _recent(figures, state, settings):
        return None
    said = {
        APPROVAL: f"{figures.approval_percent or 0:.0f}% of {figures.ratings} ratings of version {figures.production} approve; "
        f"at least {settings.approval_percent:g}% was asked",
        DRIFT: f"version {figures.production} needs {figures.bits_per_byte or 0:.3f} bits per byte on {figures.drift_articles} "
        f"new articles, {figures.drift_percent or 0:.1f}% above its {figures.baseline or 0:.3f}; "
        f"at most {settings.drift_percent:g}% was asked",
    }
    for alarm, why in said.items():
        if alarm not in state.silent and _level(alarm, figures, settings) > 1:
            return Decision(TRAIN, why, alarm=alarm)
    return None


def _recent(figures: Figures, state: State, settings: Watch) -> bool:
    """Whether watching started a training within the cooldown."""
    return state.started is not None and figures.time - state.started < timedelta(hours=settings.cooldown_hours)


def _level(alarm: str, figures: Figures, settings: Watch) -> float:
    """How bad a figure is, as a share of its bound: above 1 is an alarm. 1 where there is nothing to judge by."""
    if alarm == APPROVAL:
        if not settings.approval_percent or figures.approval_percent is None or figures.ratings < settings.ratings:
            return 1
        bound = 100 - settings.approval_percent
        return (100 - figures.approval_percent) / bound if bound else float(figures.approval_percent < 100) + 1
    drift = figures.drift_percent
    if not settings.drift_percent or drift is None or figures.drift_articles < settings.drift_articles:
        return 1
    return drift / settings.drift_percent
