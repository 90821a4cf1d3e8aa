"""See that a pool holds no passage of other texts: `check_pool.py --pool pool examples/site ...`.

A figure about a starter is worth something only on articles that it never saw.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from copies import Passages
from lxml import html

_SUFFIXES = {".html", ".md", ".txt"}
_LENGTH = 20  # words in a row, about 30 tokens


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--pool", type=Path, required=True, help="folder that build_pool.py wrote")
    asked.add_argument("--words", type=int, default=_LENGTH, help="length of a passage (default: %(default)s)")
    asked.add_argument("apart", type=Path, nargs="+", help="files or folders of .html, .md and .txt")
    options = asked.parse_args()
    passages = Passages(texts(options.apart), options.words)
    if not passages:
        print(f"There is no passage of {options.words} words in {', '.join(map(str, options.apart))}.", file=sys.stderr)
        return 2
    shared = [f"{each['url']} ({each['title']})" for each in records(options.pool) if passages.found_in(each["text"])]
    print(f"{len(shared)} articles share a passage of {options.words} words with the {len(passages):,} given.")
    print("".join(f"  {each}\n" for each in shared), end="")
    return 1 if shared else 0


def texts(places: Iterable[Path]) -> Iterator[str]:
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in _SUFFIXES:
                text = path.read_text(encoding="utf-8")
                yield html.fromstring(text.encode()).text_content() if path.suffix == ".html" else text


def records(pool: Path) -> Iterator[dict[str, str]]:
    for shard in sorted(pool.glob("*.jsonl.gz")):
        with gzip.open(shard, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


if __name__ == "__main__":
    sys.exit(main())
