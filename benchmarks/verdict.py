"""Is the verdict right? Trainings of the demo that differ in nothing but the seed, and two optimisers.

    python benchmarks/verdict.py [--quick]

Eight trainings that differ in the seed alone give 28 pairs, none of which should be called better or worse; at most
two may be. Ten trainings with Muon and ten with AdamW, of 325 steps, give ten pairs of seeds, at least nine of which should be
called better. The eight are ten trainings' first; all take about half an hour on two quiet cores. The last line is JSON.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from pathlib import Path

import cpu
import peers
import yaml

ROOT = Path(__file__).resolve().parents[1]
SEEDS, PAIRS, STEPS = 8, 10, 325
ADDRESS = "http://127.0.0.1:8808"  # the demo's, which decides the splits
OPTIMISERS = ("muon", "adamw")


@dataclass(frozen=True)
class Shelf:
    """The demo's articles as a store that an export reads."""

    articles: tuple  # type: ignore[type-arg]

    def read(self, snapshot, keys=("0", "g")) -> Iterator:  # type: ignore[no-untyped-def,type-arg]
        yield from (each for each in sorted(self.articles, key=lambda each: each.key) if keys[0] <= each.key < keys[1])


def prepare(folder: Path) -> None:
    """The demo's articles in their splits, tokenised, as ExportArticles and Preprocess leave them."""
    import apache_beam as beam

    from textmill.articles.article import Article
    from textmill.articles.selection import Selection
    from textmill.articles.snapshot import Snapshot, digest_of, digest_term
    from textmill.corpus import export, preprocess
    from textmill.gpt2.tokenizer import train_bpe

    demo = yaml.safe_load((ROOT / "examples/demo.yaml").read_text(encoding="utf-8"))
    time = datetime(2026, 1, 1, tzinfo=UTC)
    articles = tuple(Article(f"{ADDRESS}{path}", "millpond", title, text, time) for path, title, text in posts())
    none = Snapshot(1, time, len(articles), {}, {})
    digest = digest_of(digest_term(each.key, each.content_hash) for each in articles)
    selection = Selection(eval_articles=demo.get("corpus", {}).get("eval_articles", 20))
    snapshot = replace(none, digest=digest)
    examples = folder / "examples"
    export.export_articles(beam.Pipeline(), partial(Shelf, articles), snapshot, examples, selection)
    sample = preprocess.tokenizer_sample(examples / "Split-train")
    tokenizer = train_bpe(sample, demo["tokenizer"]["vocabulary"])
    preprocess.preprocess(beam.Pipeline(), examples, folder / "windows", tokenizer, demo["model"]["window"])


def posts() -> list[tuple[str, str, str]]:
    """Path, title and text of the demo's articles."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("example_site", ROOT / "examples/site.py")
    assert spec and spec.loader
    site = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = site
    spec.loader.exec_module(site)
    return [(post.path, post.title, "\n\n".join(post.paragraphs)) for post in site.read_posts()]


def train(folder: Path, seed: int, optimiser: str, steps: int) -> None:
    """One training, in a process of its own; its bundle is left in the folder."""
    from textmill.settings.model import Model
    from textmill.settings.training import Train
    from textmill.training.fine_tune import Folders, fine_tune

    demo = yaml.safe_load((ROOT / "examples/demo.yaml").read_text(encoding="utf-8"))
    own = folder / name(seed, optimiser)
    settings = Train.model_validate({**demo["train"], "steps": steps, "seed": seed, "optimiser": optimiser})
    folders = Folders(folder / "windows", folder / "examples", own / "model", own / "logs", own / "checkpoints")
    print(fine_tune(folders, "millpond", Model.model_validate(demo["model"]), settings, "benchmark").sentence)


def name(seed: int, optimiser: str) -> str:
    """The folder of a training."""
    return f"{optimiser}-{seed}"


def verdicts(folder: Path, optimisers: tuple[str, ...], seeds: int) -> dict[str, list[str]]:
    """What is said of each pair: of seeds alone, and of the two optimisers with the same seed."""
    from textmill.corpus import exported_articles
    from textmill.evaluation.gates import decide
    from textmill.evaluation.memorisation import Memory
    from textmill.evaluation.scores import judge
    from textmill.settings.evaluation import Evaluate

    held_out = list(exported_articles.read(folder / "examples" / "Split-eval"))
    scores = {
        (optimiser, seed): judge(folder / name(seed, optimiser) / "model", held_out)
        for optimiser in optimisers
        for seed in range(seeds)
    }
    for (optimiser, seed), each in scores.items():
        print(f"{optimiser:6} seed {seed}: {each.bits_per_byte:.4f} bits per byte on {each.documents} articles")

    def said(ours: tuple[str, int], theirs: tuple[str, int]) -> str:
        return decide(scores[ours], scores[theirs], name(theirs[1], theirs[0]), Memory(), Evaluate()).outcome

    first, second = optimisers
    alone = [said((second, one), (second, other)) for one, other in combinations(range(min(seeds, SEEDS)), 2)]
    return {"seeds": alone, "optimisers": [said((first, seed), (second, seed)) for seed in range(seeds)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds and a few steps, to see that all of this runs")
    parser.add_argument("--train", nargs=4, metavar=("FOLDER", "SEED", "OPTIMISER", "STEPS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        folder, seed, optimiser, steps = asked.train
        train(Path(folder), int(seed), optimiser, int(steps))
        return
    seeds, steps = (2, 8) if asked.quick else (PAIRS, STEPS)
    print(f"{peers.machine()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        for optimiser in OPTIMISERS:
            for seed in range(seeds):
                command = [sys.executable, __file__, "--train", str(folder), str(seed), optimiser, str(steps)]
                path = os.pathsep.join([f"{ROOT}", *filter(None, [os.environ.get("PYTHONPATH")])])
                subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"})
        found = verdicts(folder, OPTIMISERS, seeds)
    called = {kind: Counter(each) for kind, each in found.items()}
    result = {
        "seed_pairs": len(found["seeds"]),
        "seed_pairs_called": called["seeds"]["blessed"] + called["seeds"]["refused"],
        "optimiser_pairs": len(found["optimisers"]),
        "muon_called_better": called["optimisers"]["blessed"],
    }
    cpu.last_line(result)


if __name__ == "__main__":
    main()
