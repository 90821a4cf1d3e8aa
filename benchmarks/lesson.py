"""nanoGPT's lesson for CPUs, a small model of characters: Textmill beside nanoGPT.

    python benchmarks/lesson.py --nanogpt FOLDER --text FILE

Four layers, four heads, 128 wide, window 64, batch 12, dropout 0, 2,000 steps: nanoGPT's
`config/train_shakespeare_char.py` with the options that its README gives for CPUs. The text (nanoGPT's is
"tiny Shakespeare") is split 90 to 10.

Three trainings take turns: Textmill and nanoGPT on the same batches with nanoGPT's recipe, and Textmill with its own
recipe for as long as nanoGPT needs. The last line is JSON: how many times as many steps per second ours takes
(`vs_nanogpt`), and the losses on all of the held-out text: after the same batches (`loss`, `nanogpt_loss`), and after
the same time (`loss_same_time`). Names that end in `_sampled` are nanoGPT's estimate from 20 random batches.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import peers
from cpu import last_line
from peers import Contestant

STEPS = 2000
SIZE = {"window": 64, "layers": 4, "heads": 4, "width": 128}
LESSON = {
    "steps": STEPS,
    "batch": 12,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "final_learning_rate": 1e-4,
    "warmup_steps": 100,
    "weight_decay": 0.1,
    "beta_2": 0.99,
    "clip_norm": 1.0,
}
# found by trying: see docs/performance.md; `steps` is fitted to the time
RECIPE = {**LESSON, "learning_rate": 4e-3, "final_learning_rate": 0.0}
OURS, NANO, OWN = "Textmill", "nanoGPT", "Textmill, its own recipe"
MARGIN = 0.98  # of nanoGPT's time that our own recipe is planned to take


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True, help="folder of nanoGPT's model.py")
    parser.add_argument("--text", type=Path, required=True, help="nanoGPT's: tinyshakespeare.txt")
    parser.add_argument("--peers", type=Path, default=peers.PEERS, help="Python that has torch")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that all of this runs")
    asked = parser.parse_args()
    peers.need(asked.nanogpt / "model.py", "name the folder of a clone of github.com/karpathy/nanoGPT.")
    peers.need(asked.text, "name a text in UTF-8.")
    peers.need(asked.peers, "run 'make peers' first.")
    print(f"{peers.machine()}\n")
    steps, rounds = (30, 3) if asked.quick else (STEPS, 40)
    lesson = {**LESSON, "steps": steps}
    with (
        start_ours(OURS, lesson, asked.text) as ours,
        start_nanogpt(NANO, lesson, asked) as nano,
        start_ours(OWN, RECIPE, asked.text) as own,
    ):
        race(ours, nano, own, steps, rounds)


def race(ours: Contestant, nano: Contestant, own: Contestant, steps: int, rounds: int) -> None:
    """Train the three in turns, print what came of it."""
    own_steps = fitted(nano, own, steps)
    seconds: dict[str, list[float]] = {OURS: [], NANO: [], OWN: []}  # per step
    for number in range(rounds + 1):
        for each, total in ((ours, steps), (nano, steps), (own, own_steps)):
            count = total * (number + 1) // (rounds + 1) - total * number // (rounds + 1)
            taken = each.ask("run", steps=count)["seconds"] / count
            if number:  # in the first round they warm up
                seconds[each.name].append(taken)
    totals = {OURS: steps, NANO: steps, OWN: own_steps}
    losses = {each.name: (each.ask("whole"), each.ask("sampled")) for each in (ours, nano, own)}
    memory = {each.name: each.ask("memory") for each in (ours, nano, own)}
    times = {name: statistics.mean(each) * totals[name] for name, each in seconds.items()}
    peers.report(
        [
            {
                "4 layers, 128 wide, window 64": name,
                "steps": f"{totals[name]:,}",
                "ms a step: median (least to most)": peers.milliseconds(each),
                "all steps, s": f"{times[name]:.1f}",
                "held-out loss": f"{losses[name][0]:.4f}",
                "of 20 batches": f"{losses[name][1]:.4f}",
                "peak memory, GB": f"{memory[name] / 1e9:.2f}",
            }
            for name, each in seconds.items()
        ]
    )
    result = {
        "vs_nanogpt": round(peers.ratio(seconds, OURS, NANO), 3),
        "loss": round(losses[OURS][0], 4),
        "nanogpt_loss": round(losses[NANO][0], 4),
        "loss_same_time": round(losses[OWN][0], 4),
        "loss_sampled": round(losses[OURS][1], 4),
        "nanogpt_loss_sampled": round(losses[NANO][1], 4),
        "loss_same_time_sampled": round(losses[OWN][1], 4),
        "share_of_nanogpt_time": round(times[OWN] / times[NANO], 3),
    }
    last_line(result)


def fitted(nano: Contestant, own: Contestant, steps: int) -> int:
    """How many steps of our own recipe fit into nanoGPT's time; afterwards both stand at their beginnings."""
    few = max(2, steps // 100)
    peers.take_turns([nano, own], 1, few)  # compile and warm up
    seconds = peers.take_turns([nano, own], 5, few)
    count = int(MARGIN * steps * peers.ratio(seconds, OWN, NANO))
    nano.ask("again", train={})
    own.ask("again", train={"steps": count})
    return count


def vocabulary(text: Path) -> int:
    """How many characters a text has."""
    return len(set(text.read_text(encoding="utf-8")))


def start_ours(name: str, train: dict[str, Any], text: Path) -> Contestant:
    """Textmill with a recipe."""
    return Contestant(
        name,
        "textmill_steps.py",
        text={"batch": train["batch"], "window": 64, "seed": 1, "vocabulary": 0, "path": f"{text}"},
        model={**SIZE, "vocabulary": vocabulary(text)},
        train=train,
    )


def start_nanogpt(name: str, train: dict[str, Any], asked: argparse.Namespace) -> Contestant:
    """nanoGPT with its own recipe."""
    return Contestant(
        name,
        "nanogpt_steps.py",
        asked.peers,
        text={"batch": train["batch"], "window": 64, "seed": 1, "vocabulary": 0, "path": f"{asked.text}"},
        model={
            "block_size": SIZE["window"],
            "vocab_size": vocabulary(asked.text),
            "n_layer": SIZE["layers"],
            "n_head": SIZE["heads"],
            "n_embd": SIZE["width"],
            "dropout": 0.0,
            "bias": False,  # train.py's default
        },
        train=train,
        nanogpt=f"{asked.nanogpt}",
    )


if __name__ == "__main__":
    main()
