"""When watching trains and deploys: once for a cause, never for nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from textmill.monitoring.decisions import ASK, DEPLOY, TRAIN, Decision, Figures, State, decide
from textmill.settings.watch import Watch

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FRESH = State()
SERVED = Figures(MONDAY, 500, 0, newest=3, trained=MONDAY - DAY, production=3, baseline=2.0)
WATCH = Watch(new_articles=100, at_most_days=7, approval_percent=60, ratings=20, drift_percent=5, drift_articles=20)


def _decided(figures: Figures, state: State = FRESH, settings: Watch = WATCH, first: bool = False) -> list[Decision]:
    return decide(figures, state, settings, first)[0]


def _drifted(percent: float, articles: int = 30) -> Figures:
    return replace(SERVED, drift_articles=articles, new_articles=articles, bits_per_byte=2.0 * (1 + percent / 100))


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        (replace(SERVED, new_articles=99), ""),
        (replace(SERVED, new_articles=100), "100 new or changed articles; 100 are worth a training"),
        (replace(SERVED, time=MONDAY + 7 * DAY, new_articles=1), "8.0 days ago, and 1 articles are new"),
        (replace(SERVED, time=MONDAY + 70 * DAY), ""),  # nothing new to learn, however long ago
        (replace(SERVED, ratings=20, approval_percent=59), "59% of 20 ratings of version 3 approve"),
        (replace(SERVED, ratings=19, approval_percent=0), ""),
        (_drifted(5.1), "2.102 bits per byte on 30 new articles, 5.1% above its 2.000"),
        (_drifted(4.9), ""),
        (_drifted(50, articles=19), ""),
        (replace(_drifted(50), production=0), ""),
    ],
)
def test_training_starts_for_articles_time_ratings_and_drift(figures: Figures, why: str) -> None:
    decisions = _decided(figures)
    assert [each.what for each in decisions] == [TRAIN] * bool(why)
    assert not why or why in decisions[0].why


def test_the_first_look_trains_only_where_there_is_no_version_and_it_is_asked_for() -> None:
    empty = Figures(MONDAY, 50, 50)
    on_start = WATCH.model_copy(update={"on_start": True})
    assert (
        _decided(empty, settings=on_start, first=True)[0].why
        == "there is no version yet, and 50 articles to learn from"
    )
    assert not _decided(empty, settings=on_start)
    assert not _decided(empty, first=True)
    assert not _decided(replace(empty, articles=0, new_articles=0), settings=on_start, first=True)
    assert not _decided(replace(SERVED), settings=on_start, first=True)


def test_a_training_under_way_elsewhere_is_not_started_again() -> None:
    full = replace(SERVED, new_articles=200)
    decisions, state = decide(full, State(), WATCH)
    assert decisions
    assert not _decided(replace(full, time=MONDAY + HOUR), state)
    done = replace(full, time=MONDAY + 2 * HOUR, newest=4, trained=MONDAY + HOUR, new_articles=100)
    assert _decided(done, state)  # that one has ended, and there is enough for another


def test_a_failed_training_is_tried_again_after_a_while() -> None:
    full = replace(SERVED, new_articles=200)
    state = replace(decide(full, State(), WATCH)[1], failed=True)
    assert not _decided(replace(full, time=MONDAY + HOUR / 2), state)
    assert _decided(replace(full, time=MONDAY + HOUR), state)


def test_a_clock_that_was_ahead_holds_nothing_up() -> None:
    full = replace(SERVED, new_articles=200)
    ahead = State(started=MONDAY + 300 * DAY, newest=2)
    assert _decided(full, ahead)  # version 3 has come since
    failed = replace(ahead, failed=True)
    decisions, bounded = decide(full, failed, WATCH)
    assert not decisions
    assert _decided(replace(full, time=MONDAY + HOUR), bounded)  # no later than after any other failure
    decisions, bounded = decide(_drifted(9), ahead, WATCH)
    assert not decisions
    assert _decided(replace(_drifted(9), time=MONDAY + DAY), bounded)
    made_ahead = replace(SERVED, trained=MONDAY + 300 * DAY, new_articles=1)
    (decision,), state = decide(made_ahead, State(), WATCH)
    assert "by a clock that was ahead" in decision.why
    assert not _decided(replace(made_ahead, time=MONDAY + DAY), state)


def test_an_alarm_is_silent_until_its_figure_has_come_back() -> None:
    state = State()
    trainings = []
    for day, percent in enumerate([6, 7, 6, 4.5, 6, 3.9, 6]):  # armed again below 4: 80% of 5
        decisions, state = decide(replace(_drifted(percent), time=MONDAY + 2 * day * DAY), state, WATCH)
        trainings += [day for each in decisions if each.alarm == "drift"]
    assert trainings == [0, 6]


def test_an_alarm_waits_for_the_cooldown_of_any_training() -> None:
    state = State(started=MONDAY - 23 * HOUR)
    assert not _decided(_drifted(9), state)
    assert _decided(replace(_drifted(9), time=MONDAY + HOUR), state)


def test_a_version_in_staging_is_deployed_or_asked_about_once() -> None:
    staged = replace(SERVED, newest=4, staged=4, staged_against="version 3 in Production")
    (asked,), state = decide(staged, State(), WATCH)
    assert (asked.what, asked.version, asked.why) == (ASK, 4, "version 4 is better than version 3 in Production")
    assert not _decided(staged, state)
    bold = WATCH.model_copy(update={"deploy": "if-better"})
    assert _decided(staged, settings=bold)[0].what == DEPLOY
    assert _decided(replace(staged, production=0, staged_against="an untrained model"), settings=bold)[0].what == DEPLOY


def test_what_was_judged_against_another_version_is_not_deployed_unasked() -> None:
    bold = WATCH.model_copy(update={"deploy": "if-better"})
    stale = replace(SERVED, newest=4, staged=4, staged_against="version 2 in Production")
    (decision,) = _decided(stale, settings=bold)
    assert decision.what == ASK
    assert "judged against version 2 in Production, but version 3 serves now" in decision.why


def test_a_decision_carries_its_figures() -> None:
    figures = _decided(_drifted(6))[0].figures
    assert figures["baseline"] == 2.0
    assert figures["drift_percent"] == pytest.approx(6)
    assert "approval_percent" not in figures


class _World:
    """A site with a few articles a day, and trainings that take two hours and are deployed at once."""

    def __init__(self, cured: bool = True) -> None:
        self.cured = cured
        self.figures = SERVED
        self.trainings: list[tuple[float, str]] = []
        self._state = State()
        self._ready: datetime | None = None

    def live(self, days: float, articles_a_day: float, drift: float) -> None:
        """Look every quarter of an hour."""
        for _ in range(round(days * 96)):
            now = self.figures.time + HOUR / 4
            if self._ready and now >= self._ready:
                number = self.figures.newest + 1
                self.figures = replace(self.figures, newest=number, production=number, trained=now, new_articles=0)
                self._ready = None
                self._trained_on_it = self.cured
                self._new = 0.0
            self._new = getattr(self, "_new", 0.0) + articles_a_day / 96
            percent = 0.5 if getattr(self, "_trained_on_it", False) else drift
            self.figures = replace(
                self.figures,
                time=now,
                new_articles=int(self._new),
                drift_articles=int(self._new),
                bits_per_byte=2.0 * (1 + percent / 100) if self._new >= WATCH.drift_articles else None,
            )
            decisions, self._state = decide(self.figures, self._state, WATCH)
            for each in decisions:
                self.trainings.append(((now - MONDAY) / DAY, each.alarm))
                self._ready = now + 2 * HOUR


def test_a_quiet_week_fires_nothing() -> None:
    world = _World()
    world.live(days=14, articles_a_day=0, drift=0.5)
    assert world.trainings == []


def test_a_change_of_topic_fires_once() -> None:
    world = _World()
    world.live(days=3, articles_a_day=2, drift=0.5)
    assert world.trainings == []
    world.live(days=10, articles_a_day=10, drift=30)
    assert [alarm for _, alarm in world.trainings if alarm] == ["drift"]


def test_a_drift_that_no_training_cures_does_not_loop() -> None:
    world = _World(cured=False)
    world.live(days=60, articles_a_day=14, drift=30)
    assert [alarm for _, alarm in world.trainings if alarm] == ["drift"]
    days = [day for day, _ in world.trainings]
    assert all(later - earlier > 6 for earlier, later in pairwise(days))  # the others come by time or number
