"""Tokens per second of GPT-2 124M: our server beside gpt-2-simple, and beside our own engine without HTTP.

    python benchmarks/generation.py [--precision int8] [--rounds 3] [--quick]

Random weights, a prompt of 32 tokens, 128 new ones, on all cores this process may use. One stream, and 16 that arrive at
random moments within a second. gpt-2-simple answers one request after another, so its figure for 16 streams is that of one;
what it gives as a batch of 16 that start together is shown too. Every contestant has its own process; rounds alternate, and
medians are compared. The last line is JSON with the ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
from cpu import last_line

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture, of_size
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import Engine
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.tokenizer import characters

ROOT = Path(__file__).resolve().parent.parent
PROMPT, NEW = 32, 128
STREAMS = 16
ARRIVE_WITHIN_S = 1.0
_READY_WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Work:
    """What every contestant does."""

    architecture: Architecture
    new: int  # tokens of each text

    def prompt(self, stream: int) -> list[int]:
        """Tokens of one stream's prompt."""
        return np.random.default_rng(stream).integers(2, self.architecture.vocabulary, PROMPT).tolist()

    def settings(self, stream: int) -> Settings:
        """gpt-2-simple's own defaults: temperature 0.7, no cut."""
        return Settings(max_tokens=self.new, temperature=0.7, top_p=1.0, seed=stream)


def arrivals(streams: int) -> list[float]:
    """When each stream begins, in seconds."""
    if streams == 1:
        return [0.0]
    return sorted(np.random.default_rng(7).uniform(0, ARRIVE_WITHIN_S, streams).tolist())


def tokens_per_second(write: Callable[[int], int], streams: int) -> float:
    """Let `write` serve each stream in a thread of its own; all tokens over the time from first to last."""
    counts = [0] * streams

    def one(stream: int, delay: float) -> None:
        time.sleep(delay)
        counts[stream] = write(stream)

    threads = [threading.Thread(target=one, args=each) for each in enumerate(arrivals(streams))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def engine_contestant(directory: Path, precision: str, work: Work) -> None:
    """Answer each line of standard input, a number of streams, with the tokens per second of the bare engine."""
    with Engine(directory, slots=STREAMS, precision=precision) as engine:

        def write(stream: int) -> int:
            done = threading.Event()
            last = [0]

            def deliver(chunk: Any) -> None:
                last[0] = chunk.tokens
                if chunk.finish:
                    done.set()

            engine.submit(work.prompt(stream), work.settings(stream), deliver)
            done.wait()
            return last[0]

        _answer(lambda streams: tokens_per_second(write, streams))


def gpt2_simple_contestant(work: Work) -> None:
    """The same of gpt-2-simple's own model and sampling, for a batch of that many."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    from gpt_2_simple.src import model, sample

    tf.compat.v1.disable_eager_execution()
    shape = work.architecture
    hparams = model.default_hparams()
    hparams.override_from_dict(
        {"n_vocab": shape.vocabulary, "n_ctx": shape.window, "n_embd": shape.width}
        | {"n_head": shape.heads, "n_layer": shape.layers}
    )
    session = tf.compat.v1.Session()
    graphs: dict[int, Any] = {}

    def rate(streams: int) -> float:
        if streams not in graphs:
            context = tf.compat.v1.placeholder(tf.int32, [streams, None])
            output = sample.sample_sequence(
                hparams=hparams, length=work.new, context=context, batch_size=streams, temperature=0.7
            )
            graphs[streams] = context, output
            if len(graphs) == 1:
                session.run(tf.compat.v1.global_variables_initializer())
        context, output = graphs[streams]
        began = time.monotonic()
        session.run(output, {context: [work.prompt(stream) for stream in range(streams)]})
        return streams * work.new / (time.monotonic() - began)

    _answer(rate)


def _answer(measure: Callable[[int], float]) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(measure(int(line)), flush=True)


class Contestant:
    """A process that measures itself when asked."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._line("ready")

    def measure(self, streams: int) -> float:
        """Tokens per second of this many streams."""
        assert self._process.stdin
        self._process.stdin.write(f"{streams}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self, expected: str = "") -> str:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            if not expected or line.strip() == expected:
                return line
        raise SystemExit(f"A contestant ended: {' '.join(map(str, self._process.args))}")

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class Server:
    """Our server over HTTP, as `textmill serve` starts it, with one worker that takes all cores."""

    def __init__(self, directory: Path, precision: str, work: Work, folder: Path) -> None:
        self._work = work
        port = _free_port()
        configuration = folder / "textmill.yaml"
        configuration.write_text(
            "name: benchmark\nsources: [{name: none, start: 'http://127.0.0.1/'}]\n"
            f"serve: {{precision: {precision}, slots: {STREAMS}, max_tokens: {work.new}}}\n"
        )
        command = [sys.executable, "-m", "serving.server", "--config", configuration, "--bundle", directory]
        self._log = (folder / "server.log").open("w")
        self._process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, stdout=self._log, stderr=self._log)
        self.address = f"http://127.0.0.1:{port}"
        self.pid = self._process.pid
        began = time.monotonic()
        while not _is_ready(self.address):
            if self._process.poll() is not None or time.monotonic() - began > _READY_WITHIN_S:
                raise SystemExit((folder / "server.log").read_text())
            time.sleep(0.05)
        self.ready_s = time.monotonic() - began

    def measure(self, streams: int) -> float:
        """Tokens per second of this many streams, each with its own connection."""
        return tokens_per_second(self._write, streams)

    def _write(self, stream: int) -> int:
        settings = self._work.settings(stream)
        order = {
            "model": "benchmark",
            "prompt": self._work.prompt(stream),
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": settings.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        tokens = 0
        with requests.post(f"{self.address}/v1/completions", json=order, stream=True, timeout=600) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines(chunk_size=None):
                if line.startswith(b"data: {"):
                    usage = json.loads(line[6:]).get("usage")
                    tokens = usage["completion_tokens"] if usage else tokens
        return tokens

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


def _is_ready(address: str) -> bool:
    try:
        return requests.get(f"{address}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_model(directory: Path, architecture: Architecture) -> None:
    """A bundle with random weights and a tokenizer of one character a token, in every precision."""
    letters = "".join(chr(0x10000 + number) for number in range(architecture.vocabulary - 2))
    made = weights.initial(architecture, seed=1)
    bundle.write_bundle(directory, made, architecture, characters([letters]), {}, {}, "", ("int8", "int4"))


def main() -> None:
    """Run the contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="int8", choices=("float32", "int8", "int4"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tiny model, one round: shows that it runs")
    parser.add_argument("--contestant", choices=("engine", "gpt2-simple"), help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    architecture = Architecture(500, 128, 2, 2, 64) if arguments.quick else of_size("124M")
    work = Work(architecture, 16 if arguments.quick else NEW)
    if arguments.contestant == "engine":
        engine_contestant(arguments.directory, arguments.precision, work)
    elif arguments.contestant == "gpt2-simple":
        gpt2_simple_contestant(work)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(
                Path(folder), arguments.precision, 1 if arguments.quick else arguments.rounds, work, arguments.quick
            )


def compare(folder: Path, precision: str, rounds: int, work: Work, quick: bool) -> None:
    """Let all of them run in turn."""
    directory = folder / "bundle"
    write_model(directory, work.architecture)
    flags = ["--quick"] if quick else []
    server = Server(directory, precision, work, folder)
    of_engine = ["--directory", str(directory), "--precision", precision, *flags]
    contestants: dict[str, Any] = {
        "server": server,
        "engine": Contestant("--contestant", "engine", *of_engine),
        "gpt-2-simple": Contestant("--contestant", "gpt2-simple", *flags),
    }
    found: dict[tuple[str, int], list[float]] = {}
    try:
        for round_number in range(-1, rounds):
            for streams in (1, STREAMS):
                for name, contestant in contestants.items():
                    if name == "gpt-2-simple" and streams > 1 and round_number > 0:
                        continue  # once is enough for what no user of it sees
                    rate = contestant.measure(streams)
                    if round_number >= 0:  # the first one warms up
                        found.setdefault((name, streams), []).append(rate)
                        print(f"round {round_number + 1}: {name}, {streams} streams: {rate:.1f} tokens/s", flush=True)
    finally:
        for contestant in contestants.values():
            contestant.close()
    report(precision, server.ready_s, {key: statistics.median(values) for key, values in found.items()})


def report(precision: str, ready_s: float, rates: dict[tuple[str, int], float]) -> None:
    """The table, and the ratios as JSON."""
    print(f"\n{precision}, {len(os.sched_getaffinity(0))} cores; the server was ready after {ready_s:.1f} s")
    print(f"{'tokens/s':<14}{'1 stream':>12}{f'{STREAMS} streams':>12}")
    for name in ("server", "engine", "gpt-2-simple"):
        print(f"{name:<14}{rates[name, 1]:>12.1f}{rates[name, STREAMS]:>12.1f}")

    def ratio(streams: int, peer: Sequence[Any]) -> float:
        return round(rates["server", streams] / rates[peer[0], peer[1]], 3)

    last_line(
        {
            "vs_gpt2_simple_1": ratio(1, ("gpt-2-simple", 1)),
            "vs_gpt2_simple_16": ratio(STREAMS, ("gpt-2-simple", 1)),
            "vs_gpt2_simple_batch_16": ratio(STREAMS, ("gpt-2-simple", STREAMS)),
            "vs_engine_1": ratio(1, ("engine", 1)),
            "vs_engine_16": ratio(STREAMS, ("engine", STREAMS)),
            "precision": precision,
        }
    )


if __name__ == "__main__":
    main()
