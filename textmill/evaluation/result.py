"""The results of Evaluate, and the content of `evaluation.json`."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from textmill.evaluation.comparison import Estimate
from textmill.evaluation.form import FormReport
from textmill.evaluation.gates import Verdict, lead
from textmill.evaluation.memorisation import Memory
from textmill.evaluation.scores import Scores
from textmill.evaluation.topics import Insight
from textmill.settings.evaluation import Evaluate


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's figures."""

    name: str  # such as "version 3 in Production"
    scores: Scores
    memory: Memory
    form: FormReport | None = None  # of its texts
    insight: Insight = field(default_factory=Insight)

    def metrics(self) -> dict[str, float]:
        """Every finite figure by name."""
        return (
            self.scores.metrics()
            | self.memory.metrics()
            | (self.form.metrics() if self.form else {})
            | self.insight.metrics()
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A model, its reference and the verdict."""

    verdict: Verdict
    model: Judged
    reference: Judged  # the model to beat
    vocabulary: int  # size of the model's vocabulary
    lineage: dict[str, Any]  # the model's
    settings: Evaluate
    compressed: list[float] = field(default_factory=list)  # a compressor's bits for each of the first articles
    history: list[dict[str, float]] = field(default_factory=list)  # of the training, one entry per logged step

    @property
    def is_reference(self) -> bool:
        """Whether the model and the reference are the same bundle."""
        return self.model.scores.checksum == self.reference.scores.checksum

    @property
    def uniform_bits_per_byte(self) -> float:
        """The bits per byte of a model in which every token is equally likely."""
        scores = self.model.scores
        return (scores.tokens * math.log2(self.vocabulary) + 8 * scores.unknown_bytes) / scores.bytes

    @property
    def lead(self) -> Estimate:
        """By how many bits per byte the model is better than the reference."""
        return lead(self.model.scores, self.reference.scores)

    @property
    def compressor_bits_per_byte(self) -> float:
        """The compressor's bits per byte; NaN if not measured."""
        size = sum(self.model.scores.sizes[: len(self.compressed)])
        return sum(self.compressed) / size if size else math.nan

    def comparisons(self) -> dict[str, float]:
        """The finite ones of: the lead with its interval, and the compressor's figure."""
        found = {"compressor_bits_per_byte": self.compressor_bits_per_byte}
        if not self.is_reference:
            found |= {"lead": self.lead.mean, "lead_low": self.lead.low, "lead_high": self.lead.high}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def record(self) -> dict[str, Any]:
        """The content of `evaluation.json`."""
        scores, memory = self.model.scores, self.model.memory
        reference = {f"reference_{name}": value for name, value in self.reference.metrics().items()}
        return {
            "blessed": self.verdict.blessed,
            "checksum": scores.checksum,
            "outcome": self.verdict.outcome,
            "reasons": self.verdict.reasons,
            "warnings": self.verdict.warnings,
            "reference": self.reference.name,
            "metrics": self.model.metrics() | reference | self.comparisons(),
            "samples": [str(sample) for sample in scores.samples[: self.settings.samples]],
            "copied": [[asdict(run) for run in sample.copied] for sample in scores.samples],
            "sources": {name: asdict(score) for name, score in scores.sources.items()},
            "probes": [asdict(probe) | {"memorised": probe.memorised} for probe in memory.probes],
            "canaries": [asdict(canary) for canary in memory.canaries],
            "form": asdict(self.model.form) if self.model.form else {},
            "calibration": [[each.tokens, each.probability, each.right.mean] for each in self.model.insight.bins],
            "settings": self.settings.model_dump(),
        }


EVALUATION_FILE = "evaluation.json"

EVALUATION_PAGE = "evaluation.html"  # for a reviewer; MLflow shows it

EVALUATION_SAMPLES = "samples.txt"
