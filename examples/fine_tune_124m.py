"""Fine-tune GPT-2 124M on a text file.

    python examples/fine_tune_124m.py                       # OpenAI's weights, downloaded once
    python examples/fine_tune_124m.py --random --steps 4    # the same work on random weights, where there is no network

With `--random` the model has 124M's layers, heads and width and weights drawn at random, and a tokenizer made from the text,
so it shows that the work runs and what it costs, not what fine-tuning gains. It is kept in the form of Hugging Face, as a
base that you bring: name the folder of yours with `--base`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from shakespeare import OUT as LESSON
from shakespeare import TEXTMILL, fetched

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "fine_tune_124m.yaml"
OUT = HERE / ".textmill" / "shakespeare-124m"


def main() -> int:
    """Train and write a sample."""
    parser = argparse.ArgumentParser(description="Fine-tune GPT-2 124M on a text file.")
    parser.add_argument("--text", type=Path, help="a text in UTF-8; Shakespeare's plays if left out")
    parser.add_argument("--base", default="124M", help="124M, or the folder of a GPT-2")
    parser.add_argument("--random", action="store_true", help="start from random weights of the same shape")
    parser.add_argument("--steps", type=int, default=200, help="steps of training")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the model")
    asked = parser.parse_args()
    text = asked.text or fetched(LESSON / "input.txt")
    base = random_weights(asked.out / "random-124M", text) if asked.random else asked.base
    train = ["train", f"--config={CONFIG}", f"--text={text}", f"--out={asked.out}", f"--base={base}"]
    sample = ["generate", "ROMEO:", f"--bundle={asked.out / 'model'}", "--tokens=60", "--seed=1"]
    for step in ([*train, f"--steps={asked.steps}"], sample):
        if code := subprocess.run([*TEXTMILL, *step]).returncode:
            return code
    return 0


def random_weights(folder: Path, text: Path) -> Path:
    """A folder with a GPT-2 of 124M's shape, made unless it is there."""
    from textmill.gpt2 import tokenizer, weights
    from textmill.gpt2.architecture import of_size
    from textmill.gpt2.formats import checkpoint

    if not folder.exists():
        own = tokenizer.train_bpe([text.read_text(encoding="utf-8")], 2048)
        architecture = of_size("124M", own.vocabulary, 1024)
        checkpoint.write_hugging_face(folder, weights.initial(architecture, 1), architecture, own)
    return folder


if __name__ == "__main__":
    sys.exit(main())
