"""Prometheus metrics of the HTTP interface, and of the engines behind it at the moment of asking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serve.messages import Statistics

# A series beside each counter, which says when it began.
disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LONG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_GAUGES = {
    "slots": "Rows that an expert's engines can compute together.",
    "active": "Rows that are computed.",
    "waiting": "Rows that wait for a slot.",
}
_COUNTERS = {
    "steps": "Steps computed.",
    "prompt_tokens": "Tokens of prompts computed.",
    "cached_tokens": "Tokens of prompts taken from the prefix cache.",
    "generated_tokens": "Tokens chosen.",
    "finished": "Answers that ended.",
    "cancelled": "Answers that their caller gave up.",
    "expired": "Answers that ran out of time.",
}
assert {field.name for field in fields(Statistics)} == {*_GAUGES, *_COUNTERS}


@dataclass(frozen=True)
class ExpertMetrics:
    """Of one expert: looked up once, as labels cost more than counting."""

    first_token: Histogram
    between_tokens: Histogram
    prompt_tokens: Counter
    generated_tokens: Counter


class Metrics:
    """What is counted, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("mome_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.refusals = Counter("mome_refusals", "Requests refused, by code.", ["code"], registry=registry)
        self.running = Gauge("mome_requests_running", "Requests that are being answered.", registry=registry)
        self.seconds = Histogram(
            "mome_request_seconds", "Until the whole answer was sent.", ["path"], buckets=_LONG, registry=registry
        )
        self.routes = Counter("mome_routes", "Prompts by expert and reason.", ["expert", "reason"], registry=registry)
        self._first = self._times("mome_time_to_first_token_seconds", "Of streamed answers.", _LONG)
        self._between = self._times("mome_time_between_tokens_seconds", "Of streamed answers.", _SHORT)
        self._read = Counter("mome_prompt_tokens", "Tokens of prompts read.", ["expert"], registry=registry)
        self._written = Counter("mome_generated_tokens", "Tokens generated.", ["expert"], registry=registry)
        self._experts: dict[str, ExpertMetrics] = {}

    def of(self, expert: str) -> ExpertMetrics:
        """Those of an expert."""
        found = self._experts.get(expert)
        if found is None:
            found = self._experts[expert] = ExpertMetrics(
                self._first.labels(expert),
                self._between.labels(expert),
                self._read.labels(expert),
                self._written.labels(expert),
            )
        return found

    def families(self) -> list[Metric]:
        """What is counted here, without the engines."""
        return list(self._registry.collect())

    def text(self, engines: Mapping[str, Sequence[Statistics]], others: Iterable[Sequence[Metric]] = ()) -> bytes:
        """All of it in Prometheus' text form.

        Args:
            engines: as they are now.
            others: what other servers of the same interface have counted, which is added.
        """
        whole = CollectorRegistry()
        whole.register(_Summed([self.families(), *others]))
        whole.register(_Engines(engines))
        return bytes(generate_latest(whole))

    def _times(self, name: str, said: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, said, ["expert"], buckets=buckets, registry=self._registry)


class _Summed(Collector):
    """The same families of several servers, each sample their sum."""

    def __init__(self, servers: Sequence[Sequence[Metric]]) -> None:
        self._servers = servers

    def collect(self) -> Iterable[Metric]:
        """A family for each that any server has."""
        found: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for family in (family for server in self._servers for family in server):
            found.setdefault(family.name, family)
            sums = values.setdefault(family.name, {})
            for sample in family.samples:
                key = sample.name, tuple(sample.labels.items())
                sums[key] = sums.get(key, 0.0) + sample.value
        for name, family in found.items():
            whole = Metric(name, family.documentation, family.type)
            for (sample_name, labels), value in values[name].items():
                whole.add_sample(sample_name, dict(labels), value)
            yield whole


class _Engines(Collector):
    """The engines' own figures, summed over the replicas of each expert."""

    def __init__(self, now: Mapping[str, Sequence[Statistics]]) -> None:
        self.now = now

    def collect(self) -> Iterable[Metric]:
        """A family for each figure."""
        for name, said in {**_GAUGES, **_COUNTERS}.items():
            family = (GaugeMetricFamily if name in _GAUGES else CounterMetricFamily)(
                f"mome_engine_{name}", said, labels=["expert"]
            )
            for expert, replicas in self.now.items():
                family.add_metric([expert], float(sum(getattr(each, name) for each in replicas)))
            yield family
