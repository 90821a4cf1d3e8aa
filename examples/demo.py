"""The whole way on one machine: from a small web site to a served article. `make demo` runs this.

With --check it asks one article, checks it and ends; otherwise it stays up until Ctrl-C.
"""

import argparse
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from textmill.commands import crawl, run, serve
from textmill.commands.project import Project
from textmill.console import child_process, output
from textmill.ground.environment import without_password
from textmill.ground.files import write_beside
from textmill.local_servers import servers as local

HERE = Path(__file__).parent
DATA = HERE.parent / ".textmill" / "demo"
TOPIC = "The sound of a mill at night"


@contextmanager
def site() -> Iterator[str]:
    """Serve the example site, at the address it had before if that is free, so that its articles keep their keys."""
    remembered = DATA / "site.port"
    port = local.free_port(int(remembered.read_text(encoding="utf-8")) if remembered.exists() else 8808)
    write_beside(remembered, str(port))
    command = [sys.executable, str(HERE / "site.py"), "--port", str(port), "--folder", str(DATA / "site")]
    with local.log_of(DATA, "site").open("ab") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)) and child.poll() is None:
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        child_process.stop(child)


def project(start: str) -> Project:
    """The demo's configuration, in the data folder, with the site's address."""
    text = (HERE / "demo.yaml").read_text(encoding="utf-8").replace("http://127.0.0.1:8808/", start)
    write_beside(DATA / "textmill.yaml", text)
    return Project.load(DATA / "textmill.yaml")


def review(demo: Project) -> None:
    """Show where a reviewer would look, and promote what waits in Staging: only a blessed version is there."""
    registry = demo.registry
    staged = registry.resolve("Staging")
    present = registry.resolve("Production")
    if staged:
        output.say(f"  A reviewer reads {registry.page(staged.number)}")
        move = registry.promote(staged.number, "the demo promotes what Evaluate blessed")
        output.done(f"Version {move.version}", f"{move.former} -> {move.stage}")
    elif present:
        output.done(f"Version {present.number}", "is in Production already; nothing waits for review")
    else:
        raise child_process.StepFailed("No version was blessed, so there is none to promote; see 'textmill status'.", 1)


def ask(server: str) -> str:
    """Ask the server for one article, print it, return its text."""
    answer = requests.post(f"{server}/v1/articles", json={"topic": TOPIC, "seed": 7}, timeout=120)
    answer.raise_for_status()
    article = answer.json()
    output.say(f"\n  {TOPIC}\n")
    for paragraph in re.split(r"\n\s*\n", article["text"].strip()):
        output.say(f"  {paragraph}\n")
    model = article["model"]
    output.say(f"  — {model['name']} version {model['version']}, seed {article['seed']}, {article['seconds']:.1f} s\n")
    return str(article["text"])


def check(text: str) -> None:
    """Fail unless most of the article's words are words of the site."""
    pages = " ".join(file.read_text(encoding="utf-8") for file in (HERE / "site" / "articles").glob("*.md"))
    known, words = set(re.findall(r"\w+", pages.lower())), re.findall(r"\w+", text.lower())
    share = sum(word in known for word in words) / max(len(words), 1)
    if len(words) < 30 or share < 0.8:
        raise child_process.StepFailed(f"The article has {len(words)} words and {share:.0%} of them are the site's.", 1)
    output.done("Checked", f"{len(words)} words, {share:.0%} of them the site's")


def demo(checking: bool) -> None:
    """Run the six steps."""
    output.say(f"Textmill, from a web site to a served article. Everything is kept in {DATA}.\n")
    with site() as start:
        demo = project(start)
        with output.waiting("Starting the article store, MLflow and TensorBoard"):
            servers = local.up(DATA, mirrored=demo.config.name)
        output.done(
            "Servers", f"article store {without_password(servers.mongodb)}, MLflow {without_password(servers.mlflow)}"
        )
        output.done("Web site", f"The Millpond, a small blog, at {start}")
        crawl.crawl_sites(demo)
        run.run_pipeline(demo)
        review(demo)
        with serve.serving(demo, local.free_port(demo.config.serve.port)) as server:
            output.done("Serving", server.address)
            text = ask(server.address)
            if checking:
                check(text)
                return
            output.say(f"  Web page     {server.address}")
            present = demo.registry.resolve("Production")
            output.say(
                f"  MLflow       {demo.registry.page(present.number) if present else without_password(servers.mlflow)}"
            )
            output.say(f"  TensorBoard  {servers.tensorboard}\n\nCtrl-C stops everything.")
            server.wait()


def interrupt(*_: object) -> None:
    """Ending the demo ends its children, as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo and stop every child, however it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check the answer and end")
    checking = parser.parse_args().check
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        demo(checking)
    except (Exception, KeyboardInterrupt) as error:
        return output.exit_with(error)
    finally:
        local.down(DATA)
    return 0


if __name__ == "__main__":
    sys.exit(main())
