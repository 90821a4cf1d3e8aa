"""A worker process by itself: OpenAI's completions over one bundle."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from textmill.gpt2.formats import bundle
from textmill.gpt2.inference import engine as inference
from textmill.gpt2.inference.engine import Engine
from textmill.gpt2.inference.sampling import Settings


@dataclass(frozen=True)
class Worker:
    said: dict[str, Any]
    process: subprocess.Popen[bytes]

    def ask(self, **fields: object) -> httpx.Response:
        return httpx.post(f"{self.said['url']}/v1/completions", json={"prompt": "abc", **fields}, timeout=60)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.said['url']}{path}", timeout=60)

    def running(self) -> str:
        return next(line for line in self.get("/metrics").text.splitlines() if "_running " in line)


def begin(*options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "serving.worker", "--follow-parent", *map(str, options)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ready(process: subprocess.Popen[bytes]) -> Worker:
    assert process.stdout
    return Worker(json.loads(process.stdout.readline()), process)


@pytest.fixture(scope="module")
def worker(model: Path) -> Iterator[Worker]:
    process = begin("--bundle", model, "--slots", 2, "--threads", 1, "--name", "tiny")
    yield ready(process)
    process.terminate()
    assert process.wait(60) == 0


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_worker_writes_what_its_engine_writes_as_text_and_as_tokens(worker: Worker, model: Path) -> None:
    with Engine(model, slots=1, threads=1) as engine:
        prompt = engine.tokenizer.encode("abc")
        alone = inference.generate(engine, prompt, Settings.of(engine.defaults, {"seed": 7, "max_tokens": 20}))
    for given in ("abc", prompt, ["abc"]):
        answer = worker.ask(prompt=given, seed=7, max_tokens=20).json()
        assert answer["choices"][0]["text"] == alone.text
        assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 20, "total_tokens": 23}
        assert answer["model"] == "tiny"


def test_a_stream_has_the_same_text_and_says_why_it_ended(worker: Worker) -> None:
    asked = {"seed": 3, "max_tokens": 60, "stop": "."}
    whole = worker.ask(**asked).json()["choices"][0]
    assert (whole["finish_reason"], whole["stop_reason"]) == ("stop", "stop")
    *parts, usage = events(worker.ask(**asked, stream=True, stream_options={"include_usage": True}).text)
    assert "".join(part["choices"][0]["text"] for part in parts) == whole["text"]
    assert parts[-1]["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] > 0


def test_logprobs_are_the_same_streamed_or_not(worker: Worker) -> None:
    asked = {"seed": 3, "max_tokens": 12, "logprobs": 2}
    whole = worker.ask(**asked).json()["choices"][0]
    streamed: dict[str, list[Any]] = {}
    for part in events(worker.ask(**asked, stream=True).text):
        for name, values in part["choices"][0]["logprobs"].items():
            streamed.setdefault(name, []).extend(values)
    assert streamed == whole["logprobs"]
    assert len(streamed["tokens"]) == 12
    assert worker.ask(seed=3, max_tokens=12).json()["choices"][0] == {**whole, "logprobs": None}


def test_a_worker_lists_its_model_and_what_a_router_wants_to_know(worker: Worker, model: Path) -> None:
    entry = worker.get("/v1/models").json()["data"][0]
    assert (entry["id"], entry["max_model_len"]) == ("tiny", 64)
    assert entry["textmill"]["checksum"] == bundle.verify(model) == worker.said["checksum"]
    assert entry["textmill"]["slots"] == 2
    assert worker.get("/health").status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": []},
        {"prompt": [11]},
        {"prompt": [-1]},
        {"prompt": [True]},
        {"prompt": None},
        {"prompt": ["a", "b"]},
        {"n": 2},
        {"logprobs": 21},
        {"logprobs": True},
        {"max_tokens": 0},
        {"max_tokens": "4"},
        {"temperature": -1},
        {"seed": 1.5},
        {"stop": [1]},
    ],
)
def test_a_worker_refuses_what_it_cannot_do(worker: Worker, fields: dict[str, object]) -> None:
    answer = worker.ask(**fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_client_that_leaves_frees_its_row(worker: Worker) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{worker.said['url']}/v1/completions",
            json={"prompt": "a", "max_tokens": 10_000_000, "temperature": 0},
            timeout=0.3,
        )
    end = time.monotonic() + 60
    while not worker.running().endswith(" 0"):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_worker_ends_with_the_process_that_started_it(model: Path) -> None:
    process = begin("--bundle", model, "--threads", 1)
    ready(process)
    assert process.stdin
    process.stdin.close()  # as the kernel does when the parent is killed
    assert process.wait(60) == 0


def test_a_worker_that_cannot_start_says_why(tmp_path: Path, model: Path, broken_model: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    with (damaged / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    started = {
        "model.safetensors does not match its checksum": begin("--bundle", damaged),
        "scores are not finite numbers": begin("--bundle", broken_model),
        "changed after its verification": begin("--bundle", model, "--checksum", "00"),
        "install the package onnxruntime-gpu": begin("--bundle", model, "--device", "3"),
    }
    for sentence, process in started.items():
        said = ready(process).said
        assert sentence in said["error"]
        assert (said["exit_code"], process.wait(60)) == (2, 2)
