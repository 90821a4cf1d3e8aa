"""The benchmarks' own arithmetic; they are run by hand, because they need other projects and a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# last: a benchmark has the name of the package that it measures
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import cpu
import peers
import training


def test_ratio_is_the_median_of_rounds_so_that_one_slow_round_changes_nothing() -> None:
    assert peers.ratio({"ours": [1, 1, 1], "peer": [2, 2, 90]}, "ours", "peer") == 2


def test_flops_of_124m_are_six_for_each_weight_and_token_and_attention() -> None:
    size = training.SIZES["124M"]
    weights = 12 * 12 * 768**2 + 50257 * 768
    attention = 3 * 2 * 2 * 12 * 256 * 256 * 768  # passes, products, a multiply and an add; layers, T, T, width
    assert training.flops(size) == 6 * 256 * weights + attention


def test_contestants_see_the_same_batches(tmp_path: Path) -> None:
    # imported by another process as a rule: it takes over standard output
    (tmp_path / "text").write_text("to be or not to be, that is the question " * 20, encoding="utf-8")
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); from contestant import Text, serve; import numpy as np\n"
        "text = Text(2, 8, 1, 0, sys.argv[1]); x, y = text.next()\n"
        "assert (x[:, 1:] == y[:, :-1]).all() and x.dtype == np.int32 and len(list(text.sampled())) == 20\n"
        "assert sum(x.size for x, _ in text.whole(1)) == (len(text.held_out) - 1) // 8 * 8\n"
        "serve({'first': lambda: x.tolist()})"
    )
    folder = Path(training.__file__).parent

    def first() -> str:
        given = [sys.executable, "-c", program, tmp_path / "text", folder]
        return subprocess.run(given, input='{"do": "first"}\n', capture_output=True, text=True, check=True).stdout

    assert first() == first()
    assert np.array(json.loads(first().splitlines()[1])).shape == (2, 8)


def test_missing_peer_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run 'make peers' first"):
        peers.need(tmp_path / "python", "run 'make peers' first.")


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ("fpu avx avx2 avx512f avx512_vnni avx512_bf16", "AVX-512 BF16"),
        ("fpu avx avx2 avx512f avx512_vnni", "AVX-512 VNNI"),
        ("fpu avx avx2", "AVX2"),
        ("fpu sse2", "unknown"),
    ],
)
def test_a_benchmark_says_which_kind_of_cpu_it_ran_on(tmp_path: Path, flags: str, kind: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n", encoding="utf-8")
    assert cpu.kind(tmp_path / "cpuinfo") == kind
    assert cpu.kind(tmp_path / "absent") == "unknown"


def test_every_benchmark_ends_with_the_kind_of_cpu() -> None:
    programs = [file for file in Path(training.__file__).parent.glob("*.py") if "argparse" in file.read_text("utf-8")]
    assert len(programs) >= 8
    assert not [file.name for file in programs if "last_line(" not in file.read_text("utf-8")]
