"""What a broken model writes is told from the training text by its form, and what a sound one writes is not."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from textmill.corpus.exported_articles import Exported
from textmill.evaluation import form
from textmill.evaluation.form import Form, FormReport, longest_loop, words_of
from textmill.evaluation.gates import decide
from textmill.evaluation.memorisation import Memory
from textmill.evaluation.scores import Sample, Scores, judge
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import Tokenizer, train_bpe
from textmill.settings.evaluation import Evaluate
from textmill.settings.training import Train

NOUNS = ["wheel", "miller", "sluice", "stone", "flour", "weir", "grain", "leat", "pond", "hopper"]
VERBS = ["turns", "grinds", "feeds", "stops", "lifts", "fills", "clears", "opens"]


def sentence(draw: random.Random) -> str:
    return f"The {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)} in the {draw.choice(NOUNS)}."


def article(number: int, paragraphs: int = 6) -> Exported:
    draw = random.Random(number)
    text = "\n\n".join(" ".join(sentence(draw) for _ in range(4)) for _ in range(paragraphs))
    return Exported(f"http://mill.example/{number}", "mill", f"Mill {number}", text)


LEARNED = [article(number) for number in range(40)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe([each.text for each in LEARNED], 300)


def reported(tokenizer: Tokenizer, *texts: str, finish: str = "length", tokens: int = 120) -> FormReport:
    found = form.report([Sample("Mill", text, finish) for text in texts], LEARNED, tokenizer, tokens)
    assert found
    return found


def cut(tokenizer: Tokenizer, number: int, tokens: int = 120) -> str:
    return tokenizer.decode(tokenizer.encode(article(number).text)[:tokens])


def test_texts_like_the_training_text_pass_and_say_so(tokenizer: Tokenizer) -> None:
    found = reported(tokenizer, *(cut(tokenizer, number) for number in range(100, 116)))
    assert found.failures() == []
    assert found.summary().startswith("its texts have the form of the training text: 0.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The wheel turns.\n\n" * 15 + "\n" * 40, "of the characters in its texts are line breaks (training text:"),
        ("The wheel turns.", "its texts have 3 words on average (training text,"),
        ("The wheeler turnses the sluicer in the stoner and the weirs. " * 6, "of the words in its texts occur in"),
        ("The wheel turns the stone. " * 12, "one of its texts repeats a phrase over 60 words (limit: 12)"),
    ],
)
def test_each_figure_that_is_out_of_bounds_is_a_reason(tokenizer: Tokenizer, text: str, said: str) -> None:
    assert any(said in failure for failure in reported(tokenizer, *[text] * 4).failures())


def test_texts_that_never_end_are_a_reason_where_those_of_the_corpus_do(tokenizer: Tokenizer) -> None:
    texts = [article(number).text for number in range(100, 116)]
    (failure,) = reported(tokenizer, *texts, tokens=2000).failures()
    assert failure == "0% of its texts end by themselves (training text: 100%; required: 19%)"
    assert reported(tokenizer, *texts, finish="end", tokens=2000).failures() == []


def test_words_are_counted_in_scripts_without_spaces_and_loops_by_phrases() -> None:
    assert words_of("Don't stop, Über-Rad 7!") == ["don't", "stop", "über", "rad"]
    assert words_of("水車が回る") == ["水", "車", "が", "回", "る"]
    assert longest_loop(["a", "b", "c", "d"]) == 0
    assert longest_loop(["so", "so"]) == 2
    assert longest_loop(["x", "the", "big", "wheel", "the", "big", "wheel", "the", "big", "stone"]) == 8
    assert longest_loop([]) == 0


def test_a_refusal_for_form_counts_however_good_the_prediction_is() -> None:
    usual = Form(0.01, 80, 0.95, 0.0, 4)
    broken = FormReport(replace(usual, words=6), usual, Form(0.02, 40, 0.85, 0.0, 12))
    same = Scores("sum", 1, 10, 5, 1.0, 2.0, sizes=[10], bits=[10.0])
    verdict = decide(same, same, "it", Memory(), Evaluate(), (), broken)
    assert verdict.outcome == "refused"
    warned = decide(same, same, "it", Memory(), Evaluate(form="warn"), (), broken)
    assert (warned.outcome, warned.warnings[-1]) == ("blessed", verdict.reasons[0])
    assert verdict.reasons == [
        "its texts have 6 words on average (training text, cut to the same tokens: 80; required: 40)"
    ]


def former_tokenizer(texts: list[str]) -> Tokenizer:
    """One that splits two newlines into two equal tokens, as those trained here once did."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split("\n", "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return Tokenizer(made)


def test_a_model_that_cannot_count_newlines_is_refused_by_its_form(tmp_path: Path) -> None:
    """A real training of a very small model on paragraphs of a few words, with two equal tokens for two newlines."""
    from textmill.training.step import keras_model as gpt2
    from textmill.training.step.training_step import TrainingStep

    learned = [Exported("", "mill", each.title, each.text.replace(". The", ".\n\nThe")) for each in LEARNED]
    tokenizer = former_tokenizer([each.text for each in learned])
    shape = Architecture(tokenizer.vocabulary, window=32, layers=1, heads=1, width=16)
    stream = [token for each in learned for token in [*tokenizer.encode(f"{each.title}\n\n{each.text}"), tokenizer.end]]
    model = gpt2.build(shape, 0.0)
    stepper = TrainingStep(model, Train(learning_rate=0.01, warmup_steps=2, steps=60))
    draw = np.random.default_rng(1)
    for step in range(60):
        starts = draw.integers(0, len(stream) - 33, 8)
        windows = np.array([stream[start : start + 33] for start in starts], np.int32)
        stepper.train(step, windows[:, :-1], windows[:, 1:])
    bundle.write_bundle(
        tmp_path / "model", stepper.weights(), shape, tokenizer, {"temperature": 0.7, "top_p": 0.9}, {}, ""
    )
    scores = judge(tmp_path / "model", learned[:4], 8, {"max_tokens": 120})
    found = form.report(scores.samples, learned, tokenizer, 120)
    assert found
    assert any("are line breaks" in failure for failure in found.failures())
