"""The second engine, where CTranslate2 is installed: what it writes is what the first one does, but for its dice."""

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.worker.ctranslate2_engine import CTranslate2Engine
from textmill.gpt2.inference.engine import Engine, QueueFull
from textmill.gpt2.inference.generation import Chunk
from textmill.gpt2.inference.sampling import Settings
from textmill.ground.errors import UserError

pytest.importorskip("ctranslate2")


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[CTranslate2Engine]:
    engine = CTranslate2Engine(model, slots=2, threads=2, waiting=1)
    engine.check()
    yield engine
    engine.close()


def chunks(engine: CTranslate2Engine | Engine, prompt: str, settings: Settings) -> list[Chunk]:
    found: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
    engine.submit(engine.tokenizer.encode(prompt), settings, found.put)
    got = [found.get(timeout=60)]
    while got[-1].finish is None:
        got.append(found.get(timeout=60))
    return got


@pytest.mark.parametrize("prompt", ["a", "abc", "de. ü abc"])
def test_greedy_text_is_that_of_onnx_runtime_even_past_the_window(
    engine: CTranslate2Engine, model: Path, prompt: str
) -> None:
    greedy = Settings(temperature=0, max_tokens=150)
    with Engine(model, slots=1, threads=1) as other:
        expected = chunks(other, prompt, greedy)
    found = chunks(engine, prompt, greedy)
    assert "".join(chunk.text for chunk in found) == "".join(chunk.text for chunk in expected)
    assert (found[-1].tokens, found[-1].finish) == (expected[-1].tokens, expected[-1].finish)


def test_the_repetition_penalty_leaves_the_prompts_tokens_alone_its_end_token_too(
    engine: CTranslate2Engine, model: Path
) -> None:
    def first(engine: CTranslate2Engine | Engine, token: int, penalty: float) -> str:
        found: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        engine.submit([token], Settings(temperature=0, max_tokens=1, repetition_penalty=penalty), found.put)
        return found.get(timeout=60).text

    tokens = range(engine.tokenizer.vocabulary)
    assert all(first(engine, token, 10) == first(engine, token, 1) for token in tokens)
    with Engine(model, slots=1, threads=1) as other:  # which lowers a prompt's tokens: the model does repeat some
        assert any(first(other, token, 10) != first(other, token, 1) for token in tokens)


def test_text_is_drawn_streamed_and_stopped(engine: CTranslate2Engine) -> None:
    drawn = [chunks(engine, "abc", Settings(temperature=1.0, max_tokens=60, stop=(".",))) for _ in range(20)]
    assert max(map(len, drawn)) > 1  # one that begins with the stop has a single chunk
    assert not any("." in chunk.text for whole in drawn for chunk in whole)
    assert len({"".join(chunk.text for chunk in whole) for whole in drawn}) > 1


def test_a_cancelled_text_frees_its_place_and_a_full_queue_refuses(engine: CTranslate2Engine) -> None:
    found: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
    endless = Settings(max_tokens=10_000_000, temperature=0)
    texts = [engine.submit([5], endless, found.put) for _ in range(3)]
    assert (engine.running, engine.waiting) == (2, 1)
    with pytest.raises(QueueFull):
        engine.submit([5], endless, found.put)
    for text in texts:
        text.cancel()
    ends: list[object] = []
    while len(ends) < 3:
        if finish := found.get(timeout=60).finish:
            ends.append(finish)
    assert ends == ["cancelled"] * 3
    assert chunks(engine, "abc", Settings(max_tokens=3))[-1].tokens <= 3


def test_what_it_cannot_do_is_refused(engine: CTranslate2Engine, model: Path) -> None:
    with pytest.raises(UserError, match="no logprobs"):
        engine.submit([5], Settings(), lambda chunk: None, logprobs=1)
    with pytest.raises(UserError, match="does not support int4"):
        CTranslate2Engine(model, precision="int4")
