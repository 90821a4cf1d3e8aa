"""No text has a longer run of line breaks than its model's training text, whatever the tokens."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.document import document, topic_prompt
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import DRAWS, NEXT_SEED, Engine, generate, write
from textmill.gpt2.inference.line_breaks import LineBreaks, Runs
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.tokenizer import Tokenizer, characters, train_bpe

LETTERS = characters(["abc \n"])


def test_the_longest_usual_run_is_that_of_999_in_1000() -> None:
    runs = Runs()
    assert runs.longest == 1
    for _ in range(999):
        runs.add("one\n\ntwo")
    runs.add("one" + "\n" * 90 + "two")
    assert runs.longest == 2
    runs.add("one \n \n \n two")
    assert runs.longest == 3  # white space does not end a run
    runs.add(" " * 2_000_000 + "x")  # would take hours if blanks were searched from each place
    assert runs.longest == 3


@pytest.mark.parametrize("make", [lambda: train_bpe(["a\n\nb\n\n\nc\n\n"] * 9, 270), lambda: LETTERS])
def test_runs_are_counted_over_tokens_and_what_would_make_longer_ones_is_forbidden(
    make: Callable[[], Tokenizer],
) -> None:
    tokenizer = make()
    breaks = LineBreaks(tokenizer)
    assert breaks.at_end(tokenizer.encode("a\n\nb")) == 0
    assert breaks.at_end(tokenizer.encode("a\n \n")) == 2
    newline, letter = tokenizer.encode("\n")[0], tokenizer.encode("a")[0]
    assert newline not in breaks.forbidden(1, 2)
    assert newline in breaks.forbidden(2, 2)
    assert not {letter, tokenizer.end} & set(breaks.forbidden(2, 2).tolist())
    assert len(breaks.forbidden(9, 0)) == 0
    for sequence in breaks.sequences(2):
        assert breaks.at_end(sequence[:-1]) <= 2 < breaks.at_end(sequence)


def parrot(directory: Path, *likely: int, generation: dict[str, object]) -> Path:
    """A model that draws one of some tokens, equally likely, whatever came before."""
    shape = Architecture(LETTERS.vocabulary, 64, 1, 1, 8)
    made = weights.initial(shape)
    made["transformer.wte.weight"] = np.eye(shape.vocabulary, shape.width, dtype=np.float32)
    made["transformer.ln_f.weight"][:] = 0
    made["transformer.ln_f.bias"][list(likely)] = 12
    bundle.write_bundle(directory, made, shape, LETTERS, generation, {}, "")
    return directory


def test_a_model_that_writes_line_breaks_without_end_is_held_to_the_bundles_run(tmp_path: Path) -> None:
    (newline,), (letter,) = LETTERS.encode("\n"), LETTERS.encode("a")
    free = parrot(tmp_path / "free", newline, newline, generation={})
    with Engine(free, slots=1, threads=1) as engine:
        assert generate(engine, [letter], Settings(max_tokens=30)).text == "\n" * 30
    held = parrot(tmp_path / "held", newline, letter, generation={"line_breaks": 2})
    with Engine(held, slots=2, threads=1) as engine:
        for seed in range(4):
            text = generate(engine, [letter, newline], Settings.of(engine.defaults, {"seed": seed, "max_tokens": 60}))
            assert "\n\n" in text.text and "\n\n\n" not in "a\n" + text.text
        greedy = generate(engine, [letter], Settings.of(engine.defaults, {"temperature": 0, "max_tokens": 30}))
        assert "\n\n\n" not in greedy.text


def test_an_empty_text_is_drawn_again(tmp_path: Path) -> None:
    (letter,) = LETTERS.encode("a")
    directory = parrot(tmp_path / "bundle", LETTERS.end, letter, generation={})
    with Engine(directory, slots=1, threads=1) as engine:
        drawn = [generate(engine, [LETTERS.end], Settings(seed=seed, top_p=1)).text for seed in range(40)]
        written = [write(engine, "b", seed=seed, top_p=1) for seed in range(40)]
    empty = sum(not text for text in drawn)
    assert empty > 8
    assert sum(text == "b\n\n" for text in written) < empty / 2
    assert all(text == f"b\n\n{first}" for text, first in zip(written, drawn, strict=True) if first)


def test_of_texts_that_end_too_soon_the_longest_counts(tmp_path: Path) -> None:
    directory = parrot(tmp_path / "bundle", LETTERS.end, *LETTERS.encode("a "), generation={"fewest_words": 1000})
    with Engine(directory, slots=1, threads=1) as engine:
        seeds = [5 + attempt * NEXT_SEED for attempt in range(DRAWS)]
        prompt = topic_prompt(engine.tokenizer, "b")
        drawn = [generate(engine, prompt, Settings(seed=seed, top_p=1)).text for seed in seeds]
        assert write(engine, "b", seed=5, top_p=1) == document("b", max(drawn, key=lambda text: len(text.split())))
