"""What can be seen of the service from outside: the numbers behind `/metrics`, in Prometheus' format.

Each application has a registry of its own. Routes are counted by their pattern and refusals by their code, so that no
client can make up new labels.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from model.stages import Stage
from service.errors import JobsUnavailableError
from service.jobs.job import STATUSES
from service.scheduler import Load

if TYPE_CHECKING:
    from model.batching import Batch

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
SPEEDS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 400, 800)
ROWS = (1, 2, 3, 4, 6, 8, 16)


class Telemetry(Collector):
    """Counts, and writes down what it has counted.

    Args:
        load: what the scheduler has to do now.

    Attributes:
        network_load: how many windows wait for the network, and the seconds of the oldest.
        ready: whether the model is there.
        jobs_by_state: how many durable jobs there are in each state; whoever keeps them puts it here.
        jobs_queue_age_s: how long ago the oldest of the queued ones was taken in, seconds; 0 without any.
        state_free_bytes: room on the disk of the state directory; None where that cannot be told.
    """

    def __init__(self, load: Callable[[], Load]) -> None:
        self._load = load
        self.network_load: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
        self.ready: Callable[[], bool] = lambda: False
        self.jobs_by_state: Callable[[], Mapping[str, int]] = dict
        self.jobs_queue_age_s: Callable[[], float] = lambda: 0.0
        self.state_free_bytes: Callable[[], int | None] = lambda: None
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(self)
        self._requests = Counter(
            "cepstra_requests", "Answers, by route and status.", ["method", "route", "status"], registry=registry
        )
        self._request_s = Histogram(
            "cepstra_request_seconds", "From request to end of answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self._rejections = Counter(
            "cepstra_rejections", "Answers of 400 and above, by the error's code.", ["reason"], registry=registry
        )
        self._audio_s = Counter("cepstra_audio_seconds", "Audio that was transcribed.", registry=registry)
        self._speed = Histogram(
            "cepstra_real_time_factor",
            "Seconds of audio for each second from the start of its transcription to the end.",
            buckets=SPEEDS,
            registry=registry,
        )
        self._stage_s = Counter("cepstra_stage_seconds", "Spent in each stage.", ["stage"], registry=registry)
        self._rows = Histogram("cepstra_batch_rows", "Windows of a batch.", buckets=ROWS, registry=registry)
        self._batch_wait_s = Histogram(
            "cepstra_batch_wait_seconds", "The oldest window of a batch waited.", buckets=SECONDS, registry=registry
        )
        self._network_s = Counter("cepstra_network_seconds", "The network computed, all threads.", registry=registry)
        self._frames = Counter("cepstra_network_frames", "Feature frames computed.", registry=registry)
        self._padding = Counter("cepstra_network_padding_frames", "Padding computed with them.", registry=registry)

    def answered(self, method: str, route: str, status: int, took_s: float | None, code: str | None) -> None:
        """One request is over.

        Args:
            method: HTTP method.
            route: its pattern; empty where none fits.
            status: HTTP status.
            took_s: seconds until the answer's end; None for a socket, which lasts as long as somebody speaks.
            code: of the error, where it was one.
        """
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
        self._requests.labels(known, route or "none", str(status)).inc()
        if took_s is not None:
            self._request_s.labels(route or "none").observe(took_s)
        if status >= 400:
            self._rejections.labels(code or str(status)).inc()

    def transcribed(self, duration_s: float, took_s: float) -> None:
        """Audio of `duration_s` was transcribed within `took_s`."""
        self._audio_s.inc(duration_s)
        self._speed.observe(duration_s / max(took_s, 1e-6))

    def passed(self, stage: Stage, took_s: float) -> None:
        """A stage of a transcription took `took_s`."""
        self._stage_s.labels(stage).inc(took_s)

    def computed(self, batch: "Batch") -> None:
        """The network has computed a batch."""
        self._rows.observe(batch.rows)
        self._batch_wait_s.observe(batch.waited_s)
        self._network_s.inc(batch.took_s)
        self._frames.inc(batch.frames)
        self._padding.inc(batch.padded_frames - batch.frames)

    def collect(self) -> Iterator[Metric]:
        """What is looked up when somebody asks; prometheus_client calls it."""
        load = self._load()
        waiting = GaugeMetricFamily("cepstra_queue_depth", "Requests and jobs without a thread.", labels=["class"])
        running = GaugeMetricFamily("cepstra_running", "Requests and jobs in work.", labels=["class"])
        for rank in load.waiting:
            waiting.add_metric([rank.name.lower()], load.waiting[rank])
            running.add_metric([rank.name.lower()], load.running[rank])
        yield waiting
        yield running
        yield GaugeMetricFamily("cepstra_queue_age_seconds", "The oldest of them has waited.", load.oldest_s)
        windows, oldest_s = self.network_load()
        yield GaugeMetricFamily("cepstra_network_queue_depth", "Windows that wait for the network.", windows)
        yield GaugeMetricFamily("cepstra_network_queue_age_seconds", "The oldest of them has waited.", oldest_s)
        yield GaugeMetricFamily("cepstra_ready", "1 once the model is loaded and warmed up.", float(self.ready()))
        yield from self._jobs()
        free = self.state_free_bytes()
        if free is not None:
            yield GaugeMetricFamily("cepstra_state_free_bytes", "Room on the disk of the state directory.", free)

    def _jobs(self) -> Iterator[Metric]:
        """Without their database there are no numbers of jobs, but all others: then they are wanted most."""
        try:
            counts, age_s = self.jobs_by_state(), self.jobs_queue_age_s()
        except JobsUnavailableError:
            yield GaugeMetricFamily("cepstra_jobs_up", "1 while the jobs' database can be reached.", 0)
            return
        yield GaugeMetricFamily("cepstra_jobs_up", "1 while the jobs' database can be reached.", 1)
        jobs = GaugeMetricFamily("cepstra_jobs", "Durable jobs, by state.", labels=["state"])
        for state in STATUSES:
            jobs.add_metric([state], counts.get(state, 0))
        yield jobs
        yield GaugeMetricFamily("cepstra_jobs_queue_age_seconds", "The oldest queued job was taken in.", age_s)

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are not known before somebody asks, and clash with none of the others."""
        return iter(())

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
