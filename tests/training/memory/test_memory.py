import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from peak_memory import MEDIUM, NARROW

from textmill.gpt2.architecture import Architecture, of_size
from textmill.ground.errors import UserError
from textmill.settings.training import Train
from textmill.training.memory import estimate, malloc
from textmill.training.memory.devices import Devices, devices_of, free_memory, gpu_sizes

SMALL = of_size("124M", window=256)
LARGE = Devices(1, 10**13)
ON_CPUS = Devices(1, 10**13, halves=False)


def taken(device: Devices = LARGE, architecture: Architecture = SMALL, **settings: object) -> estimate.Estimate:
    chosen = Train(**{"batch": 16, **settings})  # type: ignore[arg-type]
    assert isinstance(chosen.batch, int)
    return estimate.estimate(architecture, chosen, chosen.batch, device)


def test_full_training_takes_sixteen_bytes_a_weight() -> None:
    assert taken(optimiser="adamw").state == 16 * SMALL.parameters


def test_muon_takes_four_bytes_less_for_each_of_its_weights_and_averages_four_for_each() -> None:
    matrices = 12 * 12 * 768**2
    assert taken().state == 16 * SMALL.parameters - 4 * matrices
    assert taken(average=0.9).state == taken().state + 4 * SMALL.parameters
    assert taken(lora_rank=8) == taken(lora_rank=8, optimiser="adamw")
    short = Architecture(50, 8, SMALL.layers, SMALL.heads, SMALL.width)
    assert (
        taken(architecture=short, batch=1, optimiser="muon").activations == 8 * matrices
    )  # orthogonalising takes more than the tokens


def test_each_remedy_takes_less_where_it_should() -> None:
    full = taken()
    assert taken(recompute=True).activations < full.activations / 2
    assert taken(precision="bfloat16").activations < full.activations
    assert taken(ON_CPUS, precision="bfloat16").activations == taken(ON_CPUS).activations
    assert taken(batch=4, accumulate=4).activations == pytest.approx(full.activations / 4, rel=0.01)
    assert taken(batch=4, accumulate=4).state == full.state + 4 * SMALL.parameters
    assert taken(lora_rank=8).state < full.state / 3
    assert taken(Devices(4, 10**13)).activations == full.activations // 4


def test_the_sentence_names_the_model_and_the_figures() -> None:
    found = estimate.check(SMALL, Train(batch=4), Devices(1, 15_200_000_000))
    assert found.sentence == "124M: 2.0 GB weights and optimiser, 1.7 GB activations of 15.2 GB"


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    def refusal(gigabytes: float, size: str = "124M", **settings: object) -> str:
        with pytest.raises(UserError) as raised:
            architecture = of_size(size)
            estimate.check(architecture, Train(**settings), Devices(1, int(gigabytes * 1e9)))  # type: ignore[arg-type]
        return str(raised.value)

    several = refusal(24)
    assert "16 windows of 1024 tokens" in several
    assert "only 24.0 GB are available" in several
    assert "to fit, set train.batch: 4 and train.accumulate: 4, or train.recompute: true, or " in several
    # nothing alone is enough
    assert "train.recompute: true and train.lora_rank: 8" in refusal(12, "1558M", batch=1)
    assert refusal(1, "1558M").endswith("no setting fits; choose a smaller model.")


def test_what_is_proposed_fits() -> None:
    device = Devices(2, 9 * 10**9)
    with pytest.raises(UserError, match=r"fit, set train\.batch: 4 and train\.accumulate: 4"):
        estimate.check(of_size("124M"), Train(batch=16), device)
    assert estimate.check(of_size("124M"), Train(batch=4, accumulate=4), device).fits


def test_auto_takes_the_most_windows_that_fit_and_the_devices_share() -> None:
    architecture = of_size("124M")
    batch = estimate.largest_batch(architecture, Train(batch="auto"), 10_000, Devices(1, 24 * 10**9))
    assert estimate.estimate(architecture, Train(), batch, Devices(1, 24 * 10**9)).fits
    assert not estimate.estimate(architecture, Train(), batch + 1, Devices(1, 24 * 10**9)).fits
    assert estimate.largest_batch(architecture, Train(batch="auto"), 10_000, LARGE) == 64
    assert estimate.largest_batch(architecture, Train(batch="auto"), 10, LARGE) == 10
    assert estimate.largest_batch(architecture, Train(batch="auto"), 10, Devices(4, 10**13)) == 8
    with pytest.raises(UserError, match="1 window of 1024 tokens"):
        estimate.largest_batch(architecture, Train(batch="auto"), 10, Devices(1, 10**9))


def test_memory_is_what_the_control_group_leaves(tmp_path: Path) -> None:
    mine = tmp_path / "cgroup"
    for version, line, folder, limit, used, cache in (
        (2, "0::/pod/box", "pod/box", "memory.max", "memory.current", "inactive_file"),
        (1, "5:cpu,memory:/box", "memory/box", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        root = tmp_path / str(version)
        (root / folder).mkdir(parents=True)
        (root / folder / limit).write_text("5000000\n")
        (root / folder / used).write_text("4000000\n")
        (root / folder / "memory.stat").write_text(f"cache 9\n{cache} 500000\n")
        mine.write_text(f"9:pids:/\n{line}\n")
        assert free_memory(root, mine) == 1_500_000
        if version == 2:  # a group above has less
            (root / "pod" / limit).write_text("max\n")
            assert free_memory(root, mine) == 1_500_000
            (root / "pod" / limit).write_text("4100000\n")
            (root / "pod" / used).write_text("4000000\n")
            assert free_memory(root, mine) == 100_000


def test_without_control_groups_memory_is_what_is_free(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path / "absent") > 10**8


def test_the_gpus_that_are_visible_count() -> None:
    said = "0, GPU-aaa, 81920\n1, GPU-bbb, 16384\n2, GPU-ccc, [N/A]\n"
    usable = [int(mib * (1 << 20) * 0.92) for mib in (81920, 16384)]
    assert gpu_sizes(said, None) == usable
    assert gpu_sizes(said, "1,0") == usable[::-1]
    assert gpu_sizes(said, "GPU-bbb") == usable[1:]
    assert gpu_sizes(said, "") == gpu_sizes("", None) == []


def test_a_limit_that_is_set_counts_instead() -> None:
    assert devices_of(Train(memory=1.5), 4).free == 1_500_000_000
    assert devices_of(Train(), 4).free > 10**8


def peak_of(shape: dict[str, int], batch: int, **settings: object) -> tuple[int, list[float]]:
    """The bytes that a real step takes at its peak, in a process of its own; and the losses of three."""
    given = json.dumps({"shape": shape, "train": settings, "batch": batch})
    command = [sys.executable, str(Path(__file__).with_name("peak_memory.py")), given]
    environment = {**os.environ, **malloc.ENVIRONMENT}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    return found["bytes"], found["losses"]


def expected(shape: dict[str, int], batch: int, **settings: object) -> int:
    found = taken(ON_CPUS, Architecture(**shape), batch=batch, **settings)
    return found.state + found.activations


# twelve more by `benchmarks/memory.py`
@pytest.mark.parametrize(
    ("batch", "settings"),
    [(16, {"dropout": 0.1}), (8, {"dropout": 0.0, "accumulate": 2, "average": 0.9})],
    ids=["dropout", "accumulate"],
)
def test_the_estimate_is_near_what_a_real_training_takes(batch: int, settings: dict[str, object]) -> None:
    found = peak_of(MEDIUM, batch, optimiser="adamw", **settings)[0]
    estimated = expected(MEDIUM, batch, optimiser="adamw", **settings)
    assert estimated > 300_000_000
    assert 0.9 < estimated / found < 1.1


def test_recomputing_takes_the_memory_of_one_layer_and_gives_the_same_losses() -> None:
    batch = 64
    found = [peak_of(NARROW, batch, recompute=recompute) for recompute in (False, True)]
    saved = expected(NARROW, batch) - expected(NARROW, batch, recompute=True)
    assert saved > 150_000_000
    assert found[0][0] - found[1][0] == pytest.approx(saved, rel=0.15)
    assert found[1][1] == pytest.approx(found[0][1], abs=1e-5)


# what XLA's own plan of a step's memory (--xla_dump_to, buffer assignment) has for small models, in megabytes
@pytest.mark.parametrize(
    ("batch", "settings", "planned"),
    [
        (16, {}, 467.9),
        (2, {}, 157.0),
        (16, {"dropout": 0.1}, 493.0),
        (4, {"accumulate": 4}, 234.3),
        (4, {"accumulate": 4, "dropout": 0.1}, 240.6),
        (16, {"recompute": True}, 246.2),
        (16, {"lora_rank": 8}, 308.8),
    ],
)
def test_the_estimate_is_near_the_compilers_own_plan(batch: int, settings: dict[str, object], planned: float) -> None:
    settings = {"optimiser": "adamw", "dropout": 0.0, **settings}
    assert expected(MEDIUM, batch, **settings) == pytest.approx(planned * 1e6, rel=0.03)


def test_what_would_take_more_memory_is_not_proposed() -> None:
    # a window at a time: the sums of four passes would take more than the activations that they save
    short = Architecture(50257, 8, 12, 12, 768)
    device = Devices(1, expected_of(short, batch=4) - 1, halves=False)
    with pytest.raises(UserError) as raised:
        estimate.check(short, Train(batch=4, optimiser="adamw"), device, has_base=False)
    assert "accumulate" not in str(raised.value)
    assert "lora_rank" not in str(raised.value)
    assert expected_of(short, batch=1, accumulate=4) > expected_of(short, batch=4)


def expected_of(architecture: Architecture, **settings: object) -> int:
    found = taken(ON_CPUS, architecture, optimiser="adamw", **settings)
    return found.state + found.activations


def test_jax_holds_the_logits_of_one_chunk_and_fused_attention_no_rows() -> None:
    big = of_size("124M")
    assert estimate.chunks_of(16 * 1024, big.vocabulary) == 8
    gpu = Devices(1, 10**13)
    logits = 4 * 16 * 1024 * big.vocabulary
    whole, chunked = (taken(gpu, big, backend=backend).activations for backend in ("tensorflow", "jax"))
    assert whole - chunked == pytest.approx(logits * (2.4 - 1 / 8), rel=1e-6)
    fused = {"precision": "bfloat16", "backend": "jax"}
    with_rows, without = (taken(gpu, big, dropout=dropout, **fused).activations for dropout in (0.1, 0.0))
    rows = 3.5 * 2 * big.layers * big.heads * 1024 * 16 * 1024
    assert with_rows - without == pytest.approx(rows, rel=1e-6)
    of_float32 = taken(ON_CPUS, big, dropout=0.0, backend="jax")
    assert taken(ON_CPUS, big, dropout=0.0, **fused).activations == of_float32.activations  # XLA widens them there
