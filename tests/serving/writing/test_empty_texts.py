"""An article is not empty where the model can write one."""

import json
from pathlib import Path

import numpy as np
from engine_router import served

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import characters

LETTERS = characters(["abc \n"])


def _often_empty(directory: Path) -> Path:
    """A model that ends at once half of the time, and else writes a letter."""
    shape = Architecture(LETTERS.vocabulary, 64, 1, 1, 8)
    made = weights.initial(shape)
    made["transformer.wte.weight"] = np.eye(shape.vocabulary, shape.width, dtype=np.float32)
    made["transformer.ln_f.weight"][:] = 0
    made["transformer.ln_f.bias"][[LETTERS.end, *LETTERS.encode("a")]] = 12
    bundle.write_bundle(directory, made, shape, LETTERS, {"top_p": 1.0}, {}, "")
    return directory


def test_an_empty_article_is_drawn_again_and_a_completion_is_not(tmp_path: Path) -> None:
    with served({7: _often_empty(tmp_path / "bundle")}, tmp_path / "data") as client:
        articles = [client.post("/v1/articles", json={"topic": "b", "seed": seed}).json() for seed in range(24)]
        assert {answer["finish_reason"] for answer in articles} == {"end"}
        assert sum(not answer["text"] for answer in articles) <= 7  # an eighth is expected, a half without
        again = [answer for answer in articles if answer["guard"]["attempts"] > 1]
        assert len(again) >= 5
        assert (
            client.post("/v1/articles", json={"topic": "b", "seed": again[0]["seed"]}).json()["text"]
            == again[0]["text"]
        )
        streamed = client.post("/v1/articles", json={"topic": "b", "seed": again[0]["seed"], "stream": True}).text
        last = json.loads(streamed.strip().rpartition("data: ")[2])
        assert last["text"] == again[0]["text"]
        asked = [{"prompt": "b\n\n", "seed": seed} for seed in range(24)]
        texts = [client.post("/v1/completions", json=each).json()["choices"][0]["text"] for each in asked]
        assert sum(not text for text in texts) >= 7
