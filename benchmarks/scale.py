"""Export and preprocessing of ten thousand, a hundred thousand and, where asked, a million articles: time and memory.

    python benchmarks/scale.py [--million] [--processes N] [--dask]

Articles are made up from their number, the same on every machine: 100 to 900 words in sentences of a Zipf vocabulary; one in fifty
copies another, one in fifty nearly. Each size runs in processes of its own, and the peak is that of all of them
together (proportional set size). The last line is JSON: seconds and peak memory per size, seconds per article of the
largest by those of the smallest, and what a run after 1% of the articles changed takes by what the first took: Export
and Preprocess together in CPU time (`again_vs_first`), and Preprocess alone in time. Beam starts as many processes
as there are cores for each of the two steps, which costs about 3 s of CPU time a process whatever there is to do; with
--processes 1 it starts none. With --dask the same code runs on Dask's LocalCluster.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from cpu import last_line

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from textmill.articles.article import Article, key_of  # noqa: E402
from textmill.articles.snapshot import Snapshot, digest_of, digest_term, key_ranges  # noqa: E402

TIME = datetime(2026, 1, 1, tzinfo=UTC)
PROCESSES = os.cpu_count() or 1


@cache
def _sentences() -> list[str]:
    """Of 14 words each, by Zipf's law."""
    generator = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    written = generator.choice(letters, (20_000, 10)).view("U10")[:, 0]
    words = [word[:end] for word, end in zip(written, generator.integers(2, 11, len(written)).tolist(), strict=True)]
    weights = 1 / np.arange(1, len(words) + 1)
    rows = np.searchsorted(np.cumsum(weights) / weights.sum(), generator.random((50_000, 14)))
    return [f"{' '.join(words[place] for place in row).capitalize()}." for row in rows]


def article(number: int, changed: bool = False) -> Article:
    """The article with this number; in a changed store, one in a hundred has another text."""
    seed = number - 7 if number % 50 in (8, 9) else number  # a copy of, or nearly, an earlier article
    generator = random.Random(seed * 2 + (changed and seed % 100 == 0))
    sentences = generator.choices(_sentences(), k=generator.randrange(7, 64))
    if number % 50 == 9:
        sentences[len(sentences) // 2] += " Nearly."
    text = "\n\n".join(" ".join(sentences[at : at + 5]) for at in range(0, len(sentences), 5))
    return Article(f"https://mill.example/{number}", f"site{number % 20}", sentences[0], text, TIME, language="en")


@dataclass(frozen=True)
class Engine:
    """What Beam's code runs on."""

    processes: int
    dask: bool


@dataclass(frozen=True)
class MadeUp:
    """A store of made-up articles, as an export reads one."""

    articles: int
    folder: str  # where the articles' numbers stand by key
    changed: bool = False

    def read(self, snapshot: Snapshot, keys: tuple[str, str]) -> Iterator[Article]:
        """Articles by key, made as they are read."""
        table = np.load(Path(self.folder) / f"{self.articles}.npy", mmap_mode="r")
        low, high = (np.uint64(int(f"{key:0<16}".replace("g", "f"), 16)) for key in keys)
        start = np.searchsorted(table["key"], low)
        end = len(table) if keys[1] == "g" else np.searchsorted(table["key"], high)
        for number in table["number"][start:end].tolist():
            yield article(number, self.changed)


def lay_out(articles: int, folder: Path) -> None:
    """Write the articles' numbers in the order of their keys."""
    table = np.empty(articles, [("key", "<u8"), ("number", "<u8")])
    table["number"] = np.arange(articles)
    table["key"] = [int(key_of(f"https://mill.example/{number}")[:16], 16) for number in range(articles)]
    table.sort(order="key")
    np.save(folder / f"{articles}.npy", table)


def digest(store: MadeUp) -> str:
    """The digest that the store's snapshot would have, by all cores."""
    with ProcessPoolExecutor() as pool:
        return digest_of(pool.map(partial(digest_in, store), key_ranges(64)))


def digest_in(store: MadeUp, keys: tuple[str, str]) -> int:
    """A key range's part of the digest."""
    snapshot = Snapshot(1, TIME, store.articles)
    return sum(digest_term(each.key, each.content_hash) for each in store.read(snapshot, keys))


def steps(articles: int, folder: Path, changed: bool, digest: str, engine: Engine) -> None:
    """Export and preprocess, and print what came of it; runs in a process of its own."""
    if not engine.dask:
        workers = [f"--direct_num_workers={engine.processes}", "--direct_running_mode=multi_processing"]
        options = ["--runner=FnApiRunner", *(workers if engine.processes > 1 else [])]
        return run(articles, folder, changed, digest, options)
    from distributed import LocalCluster

    with LocalCluster(n_workers=engine.processes, threads_per_worker=1, dashboard_address=None) as cluster:
        address = f"--dask_client_address={cluster.scheduler_address}"
        run(articles, folder, changed, digest, ["--runner=apache_beam.runners.dask.dask_runner.DaskRunner", address])
        sys.stdout.flush()
        os._exit(0)  # the clients that Beam left behind would else complain that the cluster has gone


def run(articles: int, folder: Path, changed: bool, digest: str, options: list[str]) -> None:
    """The two steps with these options of Beam's."""
    import apache_beam as beam

    from textmill.articles.selection import Selection
    from textmill.corpus import content_cache, export, preprocess
    from textmill.gpt2 import tokenizer

    def pipeline() -> beam.Pipeline:
        return beam.Pipeline(argv=options)

    out = folder / f"out-{changed}"
    store = partial(MadeUp, articles, str(folder), changed)
    signatures, tokens = (content_cache.Cache(str(folder / name), 10**11) for name in ("signatures", "tokens"))
    start, start_cpu = time.perf_counter(), cpu_s()
    snapshot = Snapshot(1, TIME, articles, {}, {}, digest)
    facts = export.export_articles(pipeline(), store, snapshot, out / "examples", Selection(), signatures)
    exported, exported_cpu = time.perf_counter(), cpu_s()
    base = folder / "tokenizer.json"
    if not base.exists():
        tokenizer.train_bpe(preprocess.tokenizer_sample(out / "examples" / "Split-train", 5_000_000), 8000).save(base)
    trained, trained_cpu = time.perf_counter(), cpu_s()
    done = preprocess.preprocess(
        pipeline(), out / "examples", out / "windows", tokenizer.Tokenizer.load(base), 1024, tokens
    )
    print(
        json.dumps(
            {
                "export_s": exported - start,
                "preprocess_s": time.perf_counter() - trained,
                "export_cpu_s": exported_cpu - start_cpu,
                "preprocess_cpu_s": cpu_s() - trained_cpu,
                "left_out": facts.left_out,
                "text_bytes": sum(facts.bytes.values()),
                "tokenised": done["tokenised"],
            }
        )
    )


def cpu_s() -> float:
    """CPU time of this process and all that it started, in seconds."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile, and its parent counts it
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def proportional_bytes(root: int) -> int:
    """Memory of a process and its descendants; what they share counts once (proportional set size)."""
    total = 0
    for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            total += int(rollup.split("\nPss:")[1].split()[0]) * 1024
        except (OSError, IndexError):  # it ended meanwhile
            continue
    return total


def measure(articles: int, folder: Path, changed: bool, digest: str, engine: Engine) -> dict[str, Any]:
    """Run `steps` in a process and watch its memory."""
    program = (
        f"import scale, pathlib; scale.steps({articles}, pathlib.Path({str(folder)!r}), {changed}, {digest!r}, "
        f"scale.{engine!r})"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    peak = [0]

    def watch() -> None:
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended between two looks
                peak[0] = max(peak[0], proportional_bytes(process.pid))
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()
    out, said = process.communicate()
    if process.returncode:
        raise SystemExit(said[-3000:])
    return {**json.loads(out.splitlines()[-1]), "peak_bytes": peak[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--million", action="store_true", help="a million articles as well: half an hour or more, 15 GB of disk"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--processes", type=int, default=PROCESSES, help="as many as there are cores if left out")
    parser.add_argument("--dask", action="store_true", help="on Dask's LocalCluster instead of Beam's own runner")
    parser.add_argument("--once", action="store_true", help="leave out the run after 1%% of the articles changed")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if left out")
    asked = parser.parse_args()
    sizes = [*asked.sizes, 1_000_000] if asked.million else asked.sizes
    found: dict[int, dict[str, Any]] = {}
    print(f"{os.cpu_count()} cores, {asked.processes} processes, load average at the start {os.getloadavg()[0]:.1f}\n")
    print(
        "| articles | export, s | preprocess, s | ms an article | CPU, s | peak memory, MB "
        "| after 1% changed, s (tokenised) | CPU, s |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=asked.folder) as name:
            found[size] = row(size, Path(name), Engine(asked.processes, asked.dask), asked.once)
    first, last = found[sizes[0]], found[sizes[-1]]
    result = {
        "seconds": {size: round(each["seconds"], 1) for size, each in found.items()},
        "peak_mb": {size: round(each["peak_bytes"] / 1e6) for size, each in found.items()},
        "per_article_vs_smallest": round(last["seconds"] / sizes[-1] / (first["seconds"] / sizes[0]), 3),
        "peak_vs_smallest": round(last["peak_bytes"] / first["peak_bytes"], 3),
    }
    if not asked.once:
        result["again_vs_first"] = round(last["again_cpu_s"] / last["cpu_s"], 3)
        result["preprocess_again_vs_first"] = round(last["again"] / last["preprocess_s"], 3)
    print()
    last_line(result)


def row(size: int, folder: Path, engine: Engine, once: bool) -> dict[str, Any]:
    """Measure one size, and the run after a change unless `once`, and print its line."""
    lay_out(size, folder)
    first = measure(size, folder, False, digest(MadeUp(size, str(folder))), engine)
    seconds = first["export_s"] + first["preprocess_s"]
    found = {**first, "seconds": seconds, "cpu_s": first["export_cpu_s"] + first["preprocess_cpu_s"]}
    line = (
        f"| {size:,} | {first['export_s']:.1f} | {first['preprocess_s']:.1f} | {1000 * seconds / size:.2f} "
        f"| {first['export_cpu_s']:.1f} + {first['preprocess_cpu_s']:.1f} | {first['peak_bytes'] / 1e6:,.0f} "
    )
    if once:
        line += "| | |"
    else:
        again = measure(size, folder, True, digest(MadeUp(size, str(folder), True)), engine)
        found |= {
            "again": again["preprocess_s"],
            "again_cpu_s": again["export_cpu_s"] + again["preprocess_cpu_s"],
        }
        line += (
            f"| {again['export_s']:.1f} + {again['preprocess_s']:.1f} ({again['tokenised']}) "
            f"| {again['export_cpu_s']:.1f} + {again['preprocess_cpu_s']:.1f} |"
        )
    print(line, flush=True)
    print(f"left out: {first['left_out']}; {first['text_bytes']:,} bytes of text", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
