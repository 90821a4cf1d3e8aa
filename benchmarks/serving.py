"""How soon a server answers, and whether it grows: time to first token, and memory after many requests.

    python benchmarks/serving.py [--precision int8] [--quick]

Our server over GPT-2 124M with random weights and one worker on all cores that this process may use. 1, 4 and 16 clients ask
one text after another: prompts of 32 tokens, 32 new ones, streamed. Then 16 clients ask for 2,000 short texts, streamed and not, some
with logprobs, some given up halfway; what API process and worker hold of memory (RSS) after that is compared with what they held
after the first 100. The last line is JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests
from generation import Server, Work, write_model

from textmill.gpt2.architecture import Architecture, of_size

CLIENTS = (1, 4, 16)
_LATE = 0.99  # the share of requests that p99 is later than
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
            found = latencies(server, work, 8 if asked.quick else 24)
            found |= memory(server, work, 100, 400 if asked.quick else 2000)
        finally:
            server.close()
    print(json.dumps({**found, "ready_s": round(server.ready_s, 2), "precision": asked.precision}))


def order(work: Work, number: int, **fields: Any) -> dict[str, Any]:
    """The body of a request, no two alike."""
    prompt, seed = work.prompt(number), number
    return {"model": "benchmark", "prompt": prompt, "max_tokens": work.new, "seed": seed, "temperature": 0.7, **fields}


def pieces(session: requests.Session, server: Server, body: dict[str, Any]) -> Iterator[str]:
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


def by_clients(clients: int, requests_each: int, ask: Callable[[requests.Session, int], Any]) -> list[Any]:
    """What `ask` gives for each request, of so many clients with a connection each."""

    def one(client: int) -> list[Any]:
        with requests.Session() as session:
            return [ask(session, client * requests_each + number) for number in range(requests_each)]

    with ThreadPoolExecutor(clients) as threads:
        return [result for results in threads.map(one, range(clients)) for result in results]


def latencies(server: Server, work: Work, requests_each: int) -> dict[str, float]:
    """Seconds to the first text, median and 99th percentile, by the number of clients."""

    def first(session: requests.Session, number: int) -> float:
        began = time.monotonic()
        texts = pieces(session, server, order(work, number))
        next(texts)
        waited = time.monotonic() - began
        for _ in texts:
            pass
        return waited

    by_clients(1, 2, first)  # warms up
    found: dict[str, float] = {}
    print(f"{'clients':>8}{'requests':>10}{'p50 s':>10}{'p99 s':>10}   to the first token")
    for clients in CLIENTS:
        waits = sorted(by_clients(clients, requests_each, first))
        late = waits[min(len(waits) - 1, round(_LATE * len(waits)))]
        found |= {f"ttft_p50_s_{clients}": round(statistics.median(waits), 4), f"ttft_p99_s_{clients}": round(late, 4)}
        print(f"{clients:>8}{len(waits):>10}{statistics.median(waits):>10.4f}{late:>10.4f}", flush=True)
    return found


def memory(server: Server, work: Work, few: int, many: int) -> dict[str, float]:
    """MiB of API process and worker after few requests and after many, and the ratio."""
    asked = 0

    def short(session: requests.Session, number: int) -> None:
        body = order(work, number, max_tokens=4, logprobs=2 if number % 5 == 0 else None)
        if number % 2:
            session.post(f"{server.address}/v1/completions", json=body, timeout=600).raise_for_status()
            return
        texts = pieces(session, server, body)
        next(texts, None)
        if number % 20:  # the others give up after the first piece
            for _ in texts:
                pass

    found: dict[str, float] = {}
    for until in (few, many):
        each = -(-(until - asked) // CLIENTS[-1])
        by_clients(CLIENTS[-1], each, short)
        asked += each * CLIENTS[-1]
        for name, held in resident(server).items():
            found[f"{name}_mib_{until}"] = round(held, 1)
    for name in ("api", "worker"):
        before, after = found[f"{name}_mib_{few}"], found[f"{name}_mib_{many}"]
        found[f"{name}_growth"] = round(after / before - 1, 4)
        print(f"{name}: {before:.1f} MiB after {few} requests, {after:.1f} MiB after {many}: {after / before - 1:+.1%}")
    return found


def resident(server: Server) -> dict[str, float]:
    """MiB in memory of the API process and of its worker."""
    api = psutil.Process(server.pid)
    worker = next(child for child in api.children() if "serving.worker" in child.cmdline())
    return {"api": api.memory_info().rss / _MIB, "worker": worker.memory_info().rss / _MIB}


if __name__ == "__main__":
    main()
