"""How soon a server answers, and whether it grows: time to first token, and memory after many requests.

    python benchmarks/serving.py [--precision int8] [--quick]

Our server over GPT-2 124M with random weights and one worker on all cores that this process may use. 1, 4 and 16 clients ask
one text after another, 192 in all each time: prompts of 32 tokens, 32 new ones, streamed. Then 16 clients ask for 2,000 texts of a
few tokens, streamed and not, some with logprobs, some given up halfway; what API process and worker hold of memory (RSS) after that,
at rest, is compared with what they held after the first 100. The last line is JSON. Within ten minutes on two cores.
"""

import argparse
import contextlib
import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests
from cpu import last_line
from generation import Server, Work, write_model

from textmill.gpt2.architecture import Architecture, of_size

CLIENTS = (1, 4, 16)
FEW, MANY = 100, 2000  # requests before memory is looked at
_LATE = 0.99  # the share of requests that p99 is later than
_SHORT = 8  # tokens of a prompt while memory is watched
_STEP = 320  # requests between two lines of progress
_REST_S = 1  # after which the last texts' memory is free
_MIB = 1 << 20


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="int8", choices=("float32", "int8", "int4"))
    parser.add_argument("--quick", action="store_true", help="a tiny model and fewer requests: shows that it runs")
    asked = parser.parse_args()
    architecture = Architecture(500, 128, 2, 2, 64) if asked.quick else of_size("124M")
    work = Work(architecture, 8 if asked.quick else 32)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "bundle"
        write_model(directory, architecture)
        server = Server(directory, asked.precision, work, Path(folder))
        try:
            found = latencies(server, work, 32 if asked.quick else 192)
            found |= memory(server, work, MANY // 5 if asked.quick else MANY)
        finally:
            server.close()
    last_line({**found, "ready_s": round(server.ready_s, 2), "precision": asked.precision})


def order(work: Work, number: int, **fields: Any) -> dict[str, Any]:
    """The body of a request, of each number another."""
    asked = {"prompt": work.prompt(number), "max_tokens": work.new, "seed": number, "temperature": 0.7}
    return {"model": "benchmark", **asked, **fields}


def pieces(session: requests.Session, server: Server, body: dict[str, Any]) -> Generator[str, None, None]:
    """The text of a streamed answer as it comes."""
    with session.post(
        f"{server.address}/v1/completions", json={**body, "stream": True}, stream=True, timeout=600
    ) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines(chunk_size=None):
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if choice["text"]:
                        yield choice["text"]


def by_clients(clients: int, numbers: range, ask: Callable[[requests.Session, int], Any]) -> list[Any]:
    """What `ask` gives for each number, of so many clients with a connection each."""

    def one(client: int) -> list[Any]:
        with requests.Session() as session:
            return [ask(session, number) for number in numbers[client::clients]]

    with ThreadPoolExecutor(clients) as threads:
        return [result for results in threads.map(one, range(clients)) for result in results]


def latencies(server: Server, work: Work, count: int) -> dict[str, float]:
    """Seconds to the first text, median and 99th percentile, by the number of clients."""

    def first(session: requests.Session, number: int) -> float:
        began = time.monotonic()
        texts = pieces(session, server, order(work, number))
        next(texts, None)
        waited = time.monotonic() - began
        for _ in texts:
            pass
        return waited

    by_clients(CLIENTS[-1], range(CLIENTS[-1]), first)  # warms up
    found: dict[str, float] = {}
    print(f"{'clients':>8}{'requests':>10}{'p50 s':>10}{'p99 s':>10}   to the first token", flush=True)
    for clients in CLIENTS:
        waits = sorted(by_clients(clients, range(count), first))
        late = waits[math.ceil(_LATE * len(waits)) - 1]
        found |= {f"ttft_p50_s_{clients}": round(statistics.median(waits), 4), f"ttft_p99_s_{clients}": round(late, 4)}
        print(f"{clients:>8}{len(waits):>10}{statistics.median(waits):>10.4f}{late:>10.4f}", flush=True)
    return found


def memory(server: Server, work: Work, many: int) -> dict[str, float]:
    """MiB of API process and worker after few requests and after many, and by how much they grew."""
    held: dict[int, dict[str, float]] = {FEW: {}, many: {}}
    for first, last in itertools.pairwise([0, FEW, *range(FEW + _STEP, many, _STEP), many]):
        by_clients(CLIENTS[-1], range(first, last), lambda session, number: short(session, server, work, number))
        time.sleep(_REST_S)
        now = resident(server)
        if last in held:
            held[last] = now
        print(f"{last:>6} requests: " + ", ".join(f"{name} {mib:.1f} MiB" for name, mib in now.items()), flush=True)
    found = {f"{name}_mib_{count}": round(mib, 1) for count, each in held.items() for name, mib in each.items()}
    growth = {f"{name}_growth": round(held[many][name] / held[FEW][name] - 1, 4) for name in held[FEW]}
    return {**found, **growth, "growth": round(sum(held[many].values()) / sum(held[FEW].values()) - 1, 4)}


def short(session: requests.Session, server: Server, work: Work, number: int) -> None:
    """A text of four tokens, in one of the ways in which clients ask for it."""
    body = order(work, number, max_tokens=4, logprobs=2 if number % 5 == 0 else None)
    body["prompt"] = body["prompt"][:_SHORT]
    if number % 2:
        session.post(f"{server.address}/v1/completions", json=body, timeout=600).raise_for_status()
        return
    with contextlib.closing(pieces(session, server, body)) as texts:
        next(texts, None)
        if number % 20:  # the others give up after the first piece
            for _ in texts:
                pass


def resident(server: Server) -> dict[str, float]:
    """MiB in memory of the API process and of its worker."""
    api = psutil.Process(server.pid)
    worker = next(child for child in api.children() if "serving.worker" in child.cmdline())
    return {"api": api.memory_info().rss / _MIB, "worker": worker.memory_info().rss / _MIB}


if __name__ == "__main__":
    main()
