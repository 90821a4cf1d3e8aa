"""GPT-2's BPE over a text: Textmill beside gpt-2-simple's `encode_dataset` and Hugging Face's tokenizers.

    python benchmarks/tokenizing.py --gpt2 FOLDER --text tinyshakespeare.txt

FOLDER has GPT-2's encoder.json and vocab.bpe, as every download of 124M does. Timed is a text file to a file of tokens,
with the vocabulary loaded. The last line is JSON: how many times as fast ours is (`vs_gpt2_simple`, `vs_tokenizers`,
medians of the rounds' ratios) and how many `tokens` ours and gpt-2-simple's make, which must be the same ones.
"""

import argparse
import statistics
from pathlib import Path

import peers
from cpu import last_line
from peers import Contestant

OURS, SIMPLE, FACE = "textmill", "gpt-2-simple", "tokenizers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpt2", type=Path, required=True, help="folder of encoder.json and vocab.bpe")
    parser.add_argument("--text", type=Path, required=True, help="a text in UTF-8")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    peers.need(asked.gpt2 / "encoder.json", "name the folder of GPT-2's vocabulary files.")
    peers.need(asked.text, "name a text.")
    print(f"{peers.machine()}\n")
    where = {"gpt2": str(asked.gpt2.absolute()), "text": str(asked.text.absolute())}
    with (
        Contestant(OURS, "encoders.py", kind=OURS, **where) as ours,
        Contestant(SIMPLE, "encoders.py", kind=SIMPLE, **where) as simple,
        Contestant(FACE, "encoders.py", kind=FACE, **where) as face,
    ):
        contestants = [ours, simple, face]
        made = {each.name: each.ask("run", steps=1) for each in contestants}  # the first run warms up
        if made[OURS]["digest"] != made[SIMPLE]["digest"]:
            raise SystemExit(f"The tokens differ: {made}.")
        seconds = peers.take_turns(contestants, asked.rounds, steps=1)
    size = asked.text.stat().st_size
    peers.report(
        [
            {
                "encoder": name,
                "ms: median (least to most)": peers.milliseconds(each),
                "MB/s": f"{size / statistics.median(each) / 1e6:.1f}",
                "tokens": f"{made[name]['tokens']:,}",
            }
            for name, each in seconds.items()
        ]
    )
    result = {
        "vs_gpt2_simple": round(peers.ratio(seconds, OURS, SIMPLE), 1),
        "vs_tokenizers": round(peers.ratio(seconds, OURS, FACE), 1),
        "tokens": made[OURS]["tokens"],
    }
    last_line(result)


if __name__ == "__main__":
    main()
