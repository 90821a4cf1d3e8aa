"""What Prometheus reads at /metrics."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.interface.schemas import ModelIdentity

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_NAMESPACE = "textmill"


class Metrics:
    """The figures of one server, in a registry of their own."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Begin at zero; `running` and `waiting` are asked whenever the figures are read."""
        self._registry = CollectorRegistry()
        self.articles = self._counter("articles", "Articles asked for, by how they ended", "finish")
        self.refused = self._counter("refused", "Requests refused, by HTTP status", "status")
        self.tokens = self._counter("tokens", "Tokens written")
        self.copied = self._counter("copied_passages", "Passages found that repeat a training text", "version")
        self.feedback = self._counter("feedback", "Ratings that readers gave", "version", "rating")
        self.first_text_s = self._histogram("first_text_seconds", "From a request to its first text")
        self.article_s = self._histogram("article_seconds", "From a request to its article's end")
        self.model = self._gauge(
            "model_info", "The model that answers; always 1", "name", "version", "stage", "checksum"
        )
        self.worker = self._gauge("worker_ready", "Whether a worker takes texts", "worker", "version")
        self.restarts = self._gauge("worker_restarts", "Times a worker was started again", "worker", "version")
        self.retries = self._counter("retries", "Texts begun again because their worker was lost")
        self.swaps = self._counter("swaps", "Changes of the version that answers, by how they ended", "outcome")
        self.shadow = self._counter("shadow", "Copies that the shadow wrote, by how they compare", "outcome")
        self.shadow_tokens = self._counter("shadow_tokens", "Tokens that the shadow wrote")
        self.shadow_s = self._histogram("shadow_seconds", "From a copied request to its text's end")
        self._gauge("running", "Articles being written").set_function(running)
        self._gauge("waiting", "Requests that wait for a slot").set_function(waiting)

    def show(self, models: Sequence[ModelIdentity], workers: Sequence[Mapping[str, Any]]) -> None:
        """Take down which models answer now, and how their workers are."""
        for gauge in (self.model, self.worker, self.restarts):
            gauge.clear()
        for identity in models:
            labels = (identity.name, str(identity.version or ""), identity.stage or "", identity.checksum)
            self.model.labels(*labels).set(1)
        for worker in workers:
            self.worker.labels(worker["name"], worker["version"]).set(worker["ready"])
            self.restarts.labels(worker["name"], worker["version"]).set(worker["restarts"])

    def render(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, namespace=_NAMESPACE, registry=self._registry)

    def _histogram(self, name: str, meaning: str) -> Histogram:
        return Histogram(name, meaning, namespace=_NAMESPACE, registry=self._registry, buckets=_SECONDS)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, namespace=_NAMESPACE, registry=self._registry)
