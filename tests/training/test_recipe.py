"""What a configuration leaves open follows the base and the corpus; what it sets stays."""

from textmill.settings.training import Train
from textmill.training.recipe import settled


def test_what_is_set_stays() -> None:
    said = Train(
        steps=7, batch=16, learning_rate=0.5, schedule="cosine", average=0.0, beta_2=0.9, eval_every=3, weight_decay=0.3
    )
    for scratch in (True, False):
        chosen = settled(said, 1000, 128, scratch)
        assert chosen.model_dump(exclude={"embedding_rate", "warmup_steps"}) == said.model_dump(
            exclude={"embedding_rate", "warmup_steps"}
        )


def test_from_a_base_the_text_is_read_five_times_within_bounds() -> None:
    assert settled(Train(batch=10), 1000, 256, False).steps == 500
    assert settled(Train(batch=10, accumulate=2), 1000, 256, False).steps == 250
    assert settled(Train(batch=10), 10, 256, False).steps == 100
    assert settled(Train(batch=10), 10**6, 256, False).steps == 2000
    assert settled(Train(), 10, 256, True).steps == settled(Train(), 10**6, 256, True).steps == 600


def test_a_wide_base_reads_a_small_corpus_no_more_than_it_must() -> None:
    chosen = settled(Train(), 29, 768, False)  # 29 windows of 1,024 tokens: the example site
    assert (chosen.batch, chosen.steps) == (2, 72)
    assert settled(Train(), 3, 768, False).steps == 30


def test_a_wide_base_takes_lower_rates_and_scratch_higher_ones() -> None:
    scratch, small, wide = (
        settled(Train(), 1000, width, first) for width, first in ((128, True), (256, False), (768, False))
    )
    assert scratch.learning_rate > small.learning_rate > wide.learning_rate
    assert scratch.weight_decay > small.weight_decay == wide.weight_decay
    assert {each.schedule for each in (scratch, small, wide)} == {"linear"}


def test_a_short_training_is_judged_ten_times() -> None:
    assert settled(Train(steps=200), 1000, 128, True).eval_every == 20
    assert settled(Train(steps=50), 1000, 128, True).eval_every == 10
    assert settled(Train(steps=10**4), 1000, 128, True).eval_every == 100


def test_the_rate_of_embeddings_follows_a_learning_rate_that_is_set() -> None:
    said = settled(Train(learning_rate=0.0001), 1000, 128, True)
    assert said.peak_rates[:2] == (0.0001, 0.0001)
    assert settled(Train(), 1000, 128, True).peak_rates[:2] == (0.002, 0.004)


def test_low_rank_matrices_keep_the_default_rate() -> None:
    assert settled(Train(lora_rank=8), 1000, 768, False).learning_rate == Train().learning_rate
    assert settled(Train(), 1000, 768, False).learning_rate < Train().learning_rate
