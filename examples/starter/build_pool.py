"""Make the text that a starter is pretrained on from Debian's packages: `build_pool.py --out pool`.

Packages, their checksums, the files taken and their licences stand in `packages.yaml`. They are fetched with
`apt-get download`, from wherever the machine takes its packages, or found in the folder `--debs`.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from copies import Seen
from packages import fetched, parts_of, unpacked
from parts import Piece, pieces
from prose import cleaned, nearness, plain_share

HERE = Path(__file__).parent
_A_SHARD = 5_000  # records
_PLAINEST = 0.85  # of an article's words; below, it is more code and names than prose


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--out", type=Path, required=True, help="folder for the pool; its former shards are replaced")
    asked.add_argument("--packages", type=Path, default=HERE / "packages.yaml", help="the list of texts")
    asked.add_argument(
        "--debs", type=Path, default=Path(".textmill/debs"), help="folder of packages, filled if need be"
    )
    options = asked.parse_args()
    try:
        build(yaml.safe_load(options.packages.read_text(encoding="utf-8"))["packages"], options.debs, options.out)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(packages: list[dict[str, Any]], debs: Path, out: Path) -> None:
    """Write the pool's shards, and what each package gave to `sizes.json`."""
    sizes: dict[str, dict[str, Any]] = {}
    out.mkdir(parents=True, exist_ok=True)
    for former in out.glob("part-*.jsonl.gz"):
        former.unlink()
    write(_records(packages, debs, sizes), out)
    (out / "sizes.json").write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    kinds = {kind: sum(each["bytes"] for each in sizes.values() if each["kind"] == kind) for kind in _kinds(packages)}
    print(", ".join(f"{kind} {held / 1e6:.1f} MB" for kind, held in kinds.items()))


def _kinds(packages: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(package["kind"] for package in packages))


def _records(packages: list[dict[str, Any]], debs: Path, sizes: dict[str, dict[str, Any]]) -> Iterator[dict[str, str]]:
    seen = Seen()
    for package in packages:
        name = package["name"]
        found = [
            Piece(cleaned(each.title), cleaned(each.text)) for each in pieces(parts_of(package, _files(package, debs)))
        ]
        prose = [each for each in found if plain_share(each.text) >= _PLAINEST]
        fresh = [each for each in prose if not seen.holds(each.text)]
        kept = nearest(fresh, package.get("most_bytes"))
        sizes[name] = {"kind": package["kind"], "articles": len(kept), "bytes": sum(map(_bytes, kept))}
        sizes[name] |= {"not_prose": len(found) - len(prose), "copies": len(prose) - len(fresh)}
        sizes[name] |= {"beyond_its_share": len(fresh) - len(kept)}
        print(f"{name:40} {sizes[name]['bytes'] / 1e6:5.2f} MB in {len(kept):5} articles", flush=True)
        for number, piece in enumerate(kept, 1):
            yield {"url": f"pool:{name}#{number}", "source": source(name), "title": piece.title, "text": piece.text}


def _files(package: dict[str, Any], debs: Path) -> Path:
    return unpacked(fetched(package, debs))


def source(name: str) -> str:
    """A package's name as Textmill takes a source's: without dots."""
    return name.replace(".", "-")


def nearest(found: list[Piece], most_bytes: int | None) -> list[Piece]:
    """Those nearest to prose, as many as a package's share allows, in the order they were in."""
    chosen: set[int] = set()
    held = 0
    for number in sorted(range(len(found)), key=lambda each: -nearness(found[each].text)):
        held += _bytes(found[number])
        if most_bytes is None or held <= most_bytes:
            chosen.add(number)
    return [found[number] for number in sorted(chosen)]


def _bytes(piece: Piece) -> int:
    return len(piece.text.encode())


def write(records: Iterable[dict[str, str]], out: Path) -> None:
    """Shards of JSON lines, as `textmill import` reads them; equal records give equal bytes."""
    lines: list[str] = []
    number = 0
    for record in records:
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        if len(lines) == _A_SHARD:
            _write_shard(lines, out, number)
            lines, number = [], number + 1
    if lines:
        _write_shard(lines, out, number)


def _write_shard(lines: list[str], out: Path, number: int) -> None:
    (out / f"part-{number:05d}.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode(), 6, mtime=0))


if __name__ == "__main__":
    sys.exit(main())
