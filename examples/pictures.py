"""Make the pictures of README and docs from a demo that runs: `make screenshots`, which needs Chromium.

docs/images/demo.svg      the terminal, as `make demo` prints it
docs/images/page.png      the web page with an article
docs/images/mlflow.png    the version's page in MLflow
docs/images/tensorboard.png
"""

import io
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "serving")]
COLUMNS = 118


def recording(lines: list[str]) -> str:
    """The terminal as SVG, with the fonts of the reader's own machine."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold"), "make demo"))
    for line in lines:
        text = Text(line.rstrip("\n").replace(str(ROOT), "textmill"))
        text.highlight_regex(r"^✓ [\w ]+?(?=  |$)", "bold green")
        text.highlight_regex(r"https?://\S+", "cyan")
        console.print(text)
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="make demo"), flags=re.DOTALL)


def addresses(lines: list[str]) -> dict[str, str]:
    """The addresses that the demo ends with, by name."""
    return {
        name: found[1]
        for name in ("Web page", "MLflow", "TensorBoard")
        for line in lines
        if (found := re.match(rf"  {name} +(\S+)", line))
    }


def pictures(found: dict[str, str], version: str) -> None:
    """Look at the three pages, and save what is seen."""
    from browser import opened

    with tempfile.TemporaryDirectory() as profile, opened(Path(profile)) as page:
        page.look(1280, 860)
        page.open(found["Web page"] + "/")
        page.wait("document.querySelector('#write')?.disabled === false")
        page.click("#topic")
        page.type("The sound of a mill at night")
        page.click("#write")
        page.wait(
            "document.querySelector('#write').textContent === 'Write' && document.querySelector('article footer:not([hidden])')"
        )
        page.picture(IMAGES / "page.png")
        page.look(1280, 1100)
        page.open(version)
        page.wait("document.body.innerText.includes('bits per byte')")
        page.picture(IMAGES / "mlflow.png")
        page.look(1280, 900)
        page.open(found["TensorBoard"].rstrip("/") + "/")
        page.wait("document.querySelector('tb-webapp')")
        page.run(
            "new Promise(done => setTimeout(done, 8000))"
        )  # its charts are drawn late, by no event that can be waited for
        page.picture(IMAGES / "tensorboard.png")


def main() -> None:
    """Run the demo, look, and end it."""
    demo = subprocess.Popen([sys.executable, str(ROOT / "examples" / "demo.py")], stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    try:
        assert demo.stdout
        for line in demo.stdout:
            print(line, end="")
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        (IMAGES / "demo.svg").write_text(recording(lines), encoding="utf-8")
        version = next(found[1] for line in lines if (found := re.search(r"(http\S+/models/\S+/versions/\d+)", line)))
        pictures(addresses(lines), version)
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait()


if __name__ == "__main__":
    main()
