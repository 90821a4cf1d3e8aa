import numpy as np
import pytest

from textmill.gpt2.inference.generation import Chunk, Generation
from textmill.gpt2.inference.sampling import Settings, choose
from textmill.ground.errors import TextmillError

LOGITS = np.array([1.0, 4.0, 3.0, 2.0, -5.0], np.float32)


def draws(settings: Settings, logits: np.ndarray = LOGITS, seen: tuple[int, ...] = (), count: int = 4000) -> np.ndarray:
    generator = np.random.default_rng(0)
    drawn = [choose(logits, seen, settings, generator) for _ in range(count)]
    return np.bincount(drawn, minlength=len(logits)) / count


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def test_temperature_zero_takes_the_likeliest_and_draws_nothing() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert choose(LOGITS, (), Settings(temperature=0), generator) == 1
    assert generator.bit_generator.state == before


def test_draws_follow_the_softmax_at_the_temperature() -> None:
    for temperature in (0.5, 1.0, 2.0):
        shares = draws(Settings(temperature=temperature, top_p=1))
        np.testing.assert_allclose(shares, softmax(LOGITS / temperature), atol=0.03)


def test_top_k_keeps_the_likeliest() -> None:
    shares = draws(Settings(temperature=1, top_k=2, top_p=1))
    np.testing.assert_allclose(shares[[1, 2]], softmax(LOGITS[[1, 2]]), atol=0.03)
    assert shares[[0, 3, 4]].sum() == 0


def test_top_p_keeps_the_smallest_set_that_reaches_the_share() -> None:
    assert softmax(LOGITS)[[1, 2]].sum() < 0.9 < softmax(LOGITS)[[1, 2, 3]].sum()
    shares = draws(Settings(temperature=1, top_p=0.9))
    np.testing.assert_allclose(shares[[1, 2, 3]], softmax(LOGITS[[1, 2, 3]]), atol=0.03)
    assert shares[[0, 4]].sum() == 0


@pytest.mark.parametrize("top_p", [0.3, 0.95])
def test_a_nucleus_of_many_tokens_is_the_one_that_sorting_all_would_give(top_p: float) -> None:
    logits = np.random.default_rng(1).normal(0, 0.5, 5000).astype(np.float32)
    order = np.argsort(-logits)
    kept = set(order[: int(np.searchsorted(np.cumsum(softmax(logits.astype(float))[order]), top_p)) + 1].tolist())
    drawn = set(np.flatnonzero(draws(Settings(temperature=1, top_p=top_p), logits)).tolist())
    assert drawn <= kept
    assert len(drawn) > len(kept) / 3


def test_the_repetition_penalty_lowers_seen_tokens_of_either_sign() -> None:
    shares = draws(Settings(temperature=1, top_p=1, repetition_penalty=2), seen=(1, 4))
    np.testing.assert_allclose(shares, softmax(np.array([1.0, 2.0, 3.0, 2.0, -10.0])), atol=0.03)
    assert LOGITS[1] == 4  # the logits themselves are left alone


def test_the_repetition_penalty_lowers_the_prompts_tokens_but_not_its_end_token() -> None:
    end, first = 1, 2

    def finish_of(logits: list[float], prompt: list[int]) -> str | None:
        chunks: list[Chunk] = []
        greedy = Settings(temperature=0, repetition_penalty=1.3, max_tokens=1)
        generation = Generation(prompt, greedy, lambda tokens: "x" * len(tokens), chunks.append)
        assert generation.advance(np.array(logits, np.float32), window=8, end=end)
        return chunks[-1].finish

    assert finish_of([0, 4.0, 3.5, 0], [end, first]) == "end"
    assert finish_of([0, 4.0, 3.5, 0], [end, 3, end]) == "end"
    assert finish_of([0, 3.5, 4.0, 0], [end, 3]) == "length"
    assert finish_of([0, 3.5, 4.0, 0], [end, first]) == "end"  # 4.0 / 1.3 is below 3.5


def test_a_temperature_that_vanishes_in_float32_takes_the_likeliest() -> None:
    generator = np.random.default_rng(0)
    assert {choose(LOGITS, (), Settings(temperature=5e-324), generator) for _ in range(5)} == {int(LOGITS.argmax())}


def test_a_repetition_window_forgets_older_tokens() -> None:
    end = 1

    def second(window: int) -> int:
        greedy = Settings(temperature=0, repetition_penalty=1.3, repetition_window=window, max_tokens=9)
        generation = Generation([end, 2], greedy, lambda tokens: "x" * len(tokens), lambda _: None)
        generation.advance(np.array([4.0, 0, 3.0, 3.0], np.float32), window=8, end=end)  # takes token 0
        generation.advance(np.array([0, 0, 4.0, 3.5], np.float32), window=8, end=end)
        return generation.context[-1]

    assert second(0) == 3  # 4.0 / 1.3 is below 3.5
    assert second(2) == 3  # the last two: tokens 2 and 0
    assert second(1) == 2


def test_later_layers_of_settings_win_and_none_changes_nothing() -> None:
    settings = Settings.of({"temperature": 0.5, "top_p": 0.8}, {"temperature": 0.9, "top_p": None, "stop": ["."]})
    assert (settings.temperature, settings.top_p, settings.stop) == (0.9, 0.8, (".",))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""]}, "stop"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(TextmillError, match=named):
        Settings.of(wrong)
