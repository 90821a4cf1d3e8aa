"""The first lesson: a model of characters that learns to write like Shakespeare, in minutes on a small CPU server.

    python examples/shakespeare.py [--text FILE] [--serve]

Model and recipe are those of nanoGPT's lesson for CPUs, and so are the three steps:

1. the text: fetched once, 1.1 MB (or yours, with --text);
2. the training: 2,000 steps; interrupted and started again, it goes on from its last checkpoint;
3. a sample; with --serve, the web page too.

What it prints is shown in docs/examples.md. The configuration is shakespeare.yaml beside this file.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import requests

from textmill.ground.files import write_beside

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "shakespeare.yaml"
OUT = HERE / ".textmill" / "shakespeare"
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TEXTMILL = (sys.executable, "-P", "-c", "from textmill.cli import main; main()")


def main() -> int:
    """Take the three steps; returns the exit code of the first one that fails."""
    parser = argparse.ArgumentParser(description="Learn Shakespeare by characters.")
    parser.add_argument("--text", type=Path, help="a text of your own, in UTF-8")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the model")
    parser.add_argument("--steps", type=int, help="steps of training; 2,000 if left out")
    parser.add_argument("--serve", action="store_true", help="show the web page at the end, until Ctrl-C")
    asked = parser.parse_args()
    text = asked.text or fetched(OUT / "input.txt")
    model = asked.out / "model"
    train = ["train", f"--config={CONFIG}", f"--text={text}", f"--out={asked.out}"]
    if asked.steps:
        train.append(f"--steps={asked.steps}")
    sample = ["generate", "ROMEO:", f"--bundle={model}", "--tokens=300", "--seed=1"]
    steps = [train, sample]
    if asked.serve:
        steps.append(["serve", f"--config={CONFIG}", f"--bundle={model}"])
    for step in steps:
        if code := subprocess.run([*TEXTMILL, *step]).returncode:
            return code
    return 0


def fetched(file: Path) -> Path:
    """nanoGPT's text, fetched unless it is there."""
    if not file.exists():
        print(f"Fetching {URL}")
        answer = requests.get(URL, timeout=30)
        answer.raise_for_status()
        if hashlib.sha256(answer.content).hexdigest() != SHA256:
            sys.exit("The text at this address is another one than it was; name a text of yours with --text.")
        write_beside(file, answer.content)
    return file


if __name__ == "__main__":
    sys.exit(main())
