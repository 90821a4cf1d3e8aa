import itertools
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference import engine as inference
from textmill.gpt2.inference.engine import Engine, QueueFull, generate
from textmill.gpt2.inference.generation import Chunk
from textmill.gpt2.inference.logprobs import TokenNames
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import Tokenizer, train_bpe
from textmill.ground.errors import TextmillError

SHAPE = Architecture(vocabulary=320, window=96, layers=2, heads=4, width=32)
GREEDY = Settings(temperature=0, max_tokens=20)


def forward(made: weights.Weights, tokens: list[int], shape: Architecture) -> NDArray[np.float64]:
    """GPT-2 in plain numpy: logits of shape (tokens, vocabulary)."""

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * made[f"{name}.weight"] + made[f"{name}.bias"]

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x @ made[f"{name}.weight"].astype(np.float64) + made[f"{name}.bias"]

    count, head = len(tokens), shape.width // shape.heads
    x = made["transformer.wte.weight"][tokens].astype(np.float64) + made["transformer.wpe.weight"][:count]
    future = np.triu(np.full((count, count), -np.inf), 1)
    for layer in (f"transformer.h.{i}" for i in range(shape.layers)):
        qkv = linear(norm(x, f"{layer}.ln_1"), f"{layer}.attn.c_attn")
        q, k, v = (part.reshape(count, shape.heads, head).swapaxes(0, 1) for part in np.split(qkv, 3, axis=-1))
        scores = q @ k.swapaxes(1, 2) / np.sqrt(head) + future
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (shares / shares.sum(-1, keepdims=True)) @ v
        x = x + linear(attended.swapaxes(0, 1).reshape(count, shape.width), f"{layer}.attn.c_proj")
        hidden = linear(norm(x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc")
        gelu = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + linear(gelu, f"{layer}.mlp.c_proj")
    return norm(x, "transformer.ln_f") @ made["transformer.wte.weight"].T


def loud_weights(shape: Architecture, end: int) -> weights.Weights:
    """Weights so large that texts vary and no term can be forgotten, with an end token that never comes by itself."""
    generator = np.random.default_rng(7)
    made = weights.initial(shape, seed=7)
    made = {name: (value + generator.normal(0, 0.2, value.shape)).astype(np.float32) for name, value in made.items()}
    # the final bias reads the first component of the embeddings alone
    made["transformer.ln_f.weight"][0], made["transformer.ln_f.bias"][0] = 0, 30
    made["transformer.wte.weight"][:, 0] = 0.5
    made["transformer.wte.weight"][end, 0] = -0.5
    return made


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = "The miller opens the sluice and the wheel begins to turn. Mühle, naïve, 日本, 🙂. " * 5
    return train_bpe([text], SHAPE.vocabulary)


@pytest.fixture(scope="module")
def made(tokenizer: Tokenizer) -> weights.Weights:
    return loud_weights(SHAPE, tokenizer.end)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, made: weights.Weights, tokenizer: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "model"
    bundle.write_bundle(path, made, SHAPE, tokenizer, {"top_p": 0.9}, {}, "")
    return path


@pytest.fixture(scope="module")
def engine(directory: Path) -> Iterator[Engine]:
    with Engine(directory, slots=4, threads=1) as engine:
        yield engine


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, SHAPE.vocabulary, length).tolist()


class Listener:
    """Collects the chunks of one text."""

    def __init__(self) -> None:
        self.chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()

    def deliver(self, chunk: Chunk) -> None:
        self.chunks.put(chunk)

    def rest(self) -> list[Chunk]:
        chunks = [self.chunks.get(timeout=60)]
        while chunks[-1].finish is None:
            chunks.append(self.chunks.get(timeout=60))
        return chunks

    def text(self) -> str:
        return "".join(chunk.text for chunk in self.rest())


def test_logits_equal_a_plain_numpy_gpt2(directory: Path, made: weights.Weights) -> None:
    session = Session(directory, slots=1, threads=1)
    tokens = prompt(SHAPE.window)
    logits = session.forward(0, tokens, 0, range(len(tokens)))
    np.testing.assert_allclose(logits, forward(made, tokens, SHAPE), atol=1e-4)


def test_a_prompt_read_in_pieces_gives_exactly_what_it_gives_whole(directory: Path) -> None:
    session = Session(directory, slots=2, threads=1)
    tokens = prompt(90)
    whole = session.forward(0, tokens, 0, range(90))
    assert session.forward(1, tokens[:40], 0, []).shape == (0, SHAPE.vocabulary)
    assert np.array_equal(session.forward(1, tokens[40:], 40, range(50)), whole[40:])


def test_rows_of_different_lengths_give_exactly_what_each_gives_alone(directory: Path) -> None:
    session = Session(directory, slots=4, threads=1)
    lengths = [1, 5, 40, 90]
    alone = []
    for length in lengths:
        session.forward(0, prompt(length, seed=length), 0, [])
        alone.append(session.step([length], [length])[0].copy())
    for row, length in enumerate(lengths):
        session.forward(row, prompt(length, seed=length), 0, [])
    together = session.step(lengths, lengths)
    assert np.array_equal(together, np.stack(alone))


def test_a_moved_row_goes_on_as_it_would_have(directory: Path) -> None:
    session = Session(directory, slots=3, threads=1)
    session.forward(2, prompt(30), 0, [])
    session.copy_row(2, 0, 30)
    moved = session.step([9], [30])[0].copy()
    session.forward(0, prompt(30), 0, [])
    assert np.array_equal(session.step([9], [30])[0], moved)


def greedy_tokens(made: weights.Weights, context: list[int], count: int, window: int) -> list[int]:
    """What the engine documents: past the window, the text goes on from the last half of it."""
    written: list[int] = []
    for _ in range(count):
        written.append(int(forward(made, context, SHAPE)[-1].argmax()))
        context = [*context, written[-1]]
        context = context[-(window // 2) :] if len(context) > window else context
    return written


def test_greedy_tokens_equal_a_plain_numpy_gpt2_even_past_the_window(engine: Engine, made: weights.Weights) -> None:
    expected = greedy_tokens(made, prompt(60), 130, SHAPE.window)
    text = generate(engine, prompt(60), Settings(temperature=0, max_tokens=130))
    assert text.text.rstrip("\ufffd") == engine.tokenizer.decode(expected).rstrip("\ufffd")
    assert (text.tokens, text.finish) == (130, "length")


def test_a_prompt_longer_than_the_window_is_cut_from_the_left(engine: Engine) -> None:
    assert engine.room == 95
    long = prompt(300)
    assert generate(engine, long, GREEDY) == generate(engine, long[-95:], GREEDY)


def test_the_same_seed_gives_the_same_text_with_and_without_companions(engine: Engine) -> None:
    settings = [Settings(seed=seed, temperature=1.2, max_tokens=30 + 25 * seed) for seed in range(9)]
    alone = [generate(engine, prompt(3 + 9 * seed, seed), how).text for seed, how in enumerate(settings)]
    listeners = [Listener() for _ in settings]
    for seed, how in enumerate(settings):  # more than there are slots, of different lengths: they join and leave
        engine.submit(prompt(3 + 9 * seed, seed), how, listeners[seed].deliver)
    assert [listener.text() for listener in listeners] == alone
    assert len(set(alone)) == len(alone)


def test_a_long_prompt_does_not_stall_the_others(tmp_path: Path) -> None:
    shape = Architecture(vocabulary=300, window=1024, layers=1, heads=1, width=8)
    tokenizer = train_bpe(["wheel"], 300)
    bundle.write_bundle(tmp_path / "wide", loud_weights(shape, tokenizer.end), shape, tokenizer, {}, {}, "")
    written: list[int] = []
    done = threading.Event()

    def hear_short(chunk: Chunk) -> None:
        if not done.is_set():
            written.append(chunk.tokens)
        if len(written) == 1:
            engine.submit([5] * 1000, Settings(max_tokens=1), lambda chunk: done.set())

    with Engine(tmp_path / "wide", slots=2, threads=1) as engine:
        engine.submit([5], Settings(max_tokens=400, seed=1), hear_short)
        assert done.wait(60)
    # a thousand tokens are read in eight pieces, with a step between any two; the last token's text may be held back
    assert 4 <= written[-1] - written[0] <= 9


def test_a_text_ends_before_a_stop_string_and_never_shows_a_part_of_it(engine: Engine) -> None:
    how = Settings(seed=3, temperature=1.0, max_tokens=60)
    whole = generate(engine, prompt(5), how).text
    stop = whole[20:25]
    listener = Listener()
    engine.submit(prompt(5), Settings(seed=3, temperature=1.0, max_tokens=60, stop=(stop, "never")), listener.deliver)
    chunks = listener.rest()
    assert "".join(chunk.text for chunk in chunks) == whole[: whole.index(stop)]
    assert chunks[-1].finish == "stop"


def test_logprobs_are_the_models_own_whatever_draws_the_token(engine: Engine, made: weights.Weights) -> None:
    listener = Listener()
    odd = Settings(seed=3, temperature=1.7, top_k=40, repetition_penalty=1.5, max_tokens=25)
    engine.submit(prompt(5), odd, listener.deliver, logprobs=4)
    chunks = listener.rest()
    scores = [each for chunk in chunks for each in chunk.scores]
    assert len(scores) == 25
    first = forward(made, prompt(5), SHAPE)[-1]
    shares = np.exp(first - first.max()) / np.exp(first - first.max()).sum()
    best = np.argsort(-shares)[:4]
    expected = np.log(shares[best])
    np.testing.assert_allclose(sorted(scores[0].likeliest.values(), reverse=True)[:4], expected, atol=1e-4)
    assert all(each.likeliest[each.token] == each.logprob for each in scores)
    text = "".join(chunk.text for chunk in chunks)
    whole = list(itertools.takewhile(lambda each: not each.token.startswith("bytes:"), scores))
    assert len(whole) > 2
    assert all(text[each.offset :].startswith(each.token) for each in whole)


def test_tokens_that_are_no_whole_characters_are_named_by_their_bytes(tokenizer: Tokenizer) -> None:
    name = TokenNames(tokenizer)
    names = [name(token) for token in range(tokenizer.vocabulary)]
    assert len(set(names)) == len(names)
    assert name(tokenizer.end) == "<|endoftext|>"
    assert {"bytes:\\xf0", " the"} <= set(names)
    assert name(10_000) == "<|10000|>"


def test_cancelling_frees_the_slot_and_ends_the_text(directory: Path) -> None:
    endless = Settings(max_tokens=1_000_000, temperature=1.0)
    with Engine(directory, slots=1, threads=1) as engine:
        first, second = Listener(), Listener()
        running = engine.submit(prompt(3), endless, first.deliver)
        first.chunks.get(timeout=60)
        waiting = engine.submit(prompt(4), endless, second.deliver)
        waiting.cancel()
        assert second.rest() == [Chunk("", 0, "cancelled")]  # without having had a slot
        running.cancel()
        assert first.rest()[-1].finish == "cancelled"
        assert generate(engine, prompt(4), GREEDY).tokens == 20


def test_a_full_queue_refuses_at_once_until_there_is_room(directory: Path) -> None:
    endless = Settings(max_tokens=1_000_000)
    with Engine(directory, slots=1, threads=1, waiting=2) as engine:
        listener = Listener()
        running = [engine.submit(prompt(3), endless, listener.deliver)]
        listener.chunks.get(timeout=60)
        running += [engine.submit(prompt(3), endless, Listener().deliver) for _ in range(2)]
        assert (engine.running, engine.waiting) == (1, 2)
        with pytest.raises(QueueFull, match="2 requests are waiting"):
            engine.submit(prompt(3), endless, listener.deliver)
        running[1].cancel()
        running += [engine.submit(prompt(3), endless, listener.deliver)]
        for each in running:
            each.cancel()


def test_a_listener_that_fails_ends_its_own_text_only(engine: Engine) -> None:
    def broken(chunk: Chunk) -> None:
        raise RuntimeError("the reader has gone")

    engine.submit(prompt(3), Settings(max_tokens=1_000_000), broken)
    assert generate(engine, prompt(3), GREEDY).tokens == 20
    assert engine.failure is None


def test_closing_cancels_what_is_under_way_and_refuses_more(directory: Path) -> None:
    engine = Engine(directory, slots=1, threads=1)
    listeners = [Listener(), Listener()]
    for listener in listeners:
        engine.submit(prompt(3), Settings(max_tokens=1_000_000), listener.deliver)
    engine.close()
    assert [listener.rest()[-1].finish for listener in listeners] == ["cancelled", "cancelled"]
    with pytest.raises(TextmillError, match="ended"):
        engine.submit(prompt(3), GREEDY, listeners[0].deliver)


def test_a_fault_in_the_loop_reaches_everyone_who_waits(directory: Path) -> None:
    with Engine(directory, slots=2, threads=1) as engine:
        with pytest.raises(TextmillError, match="ended before the text did"):
            generate(engine, [SHAPE.vocabulary + 5], GREEDY)  # no such token: the graph's look-up fails
        assert engine.failure is not None


def test_streamed_text_is_whole_characters_and_adds_up(engine: Engine) -> None:
    listener = Listener()
    engine.submit(prompt(5), Settings(seed=1, temperature=2.0, top_p=1, max_tokens=300), listener.deliver)
    chunks = listener.rest()
    assert "".join(chunk.text for chunk in chunks).encode()
    assert len(chunks) > 10
    assert (chunks[-1].tokens, chunks[-1].finish) == (300, "length")


def test_an_article_is_written_under_its_title(engine: Engine) -> None:
    article = inference.write(engine, " The  miller's\nday ", max_tokens=12, seed=4)
    assert article.startswith("The miller's day\n\n")
    assert article == inference.write(engine, "The miller's day", max_tokens=12, seed=4)
    with pytest.raises(TextmillError, match="'tokens' is no setting"):
        inference.write(engine, "The mill", tokens=12)
