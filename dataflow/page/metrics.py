"""The figures of a live job for Prometheus, created at each scrape from the job's status."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dataflow.page.view import JobView

OUTCOMES = ("accepted", "dead", "filtered", "duplicate", "late")


class JobCollector(Collector):
    """Metrics named `streamgauge_…`, each with the label `job`."""

    def __init__(self, view: JobView):
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """The present metrics; values that are not known yet are left out."""
        view, bulletin = self._view, self._view.bulletin
        ledger, reasons = bulletin.totals()
        yield self._counter("records_read", "Records read since this process began", view.bulletin.tally.read)
        yield self._gauge("log_position", "Position of the next record to read", bulletin.position)
        yield self._gauge("log_end_position", "Position after the last record in the source", bulletin.end)
        yield self._gauge("backlog_records", "Records in the source that wait to be read", view.backlog)
        yield self._gauge("lag_seconds", "Time from a record's arrival to its reading", view.lag_s)
        if view.watermark_s is not None:
            yield self._gauge(
                "watermark_timestamp_seconds",
                "The watermark: event time up to which windows are closed",
                view.watermark_s,
            )
        if bulletin.checkpoint is not None:
            name = "checkpoint_timestamp_seconds"
            yield self._gauge(name, "When the newest checkpoint was taken", bulletin.checkpoint)
        outcomes = {outcome: ledger.get(outcome, 0) for outcome in OUTCOMES}
        yield self._counters(
            "ledger_records", "What became of the records, by the newest checkpoint", "outcome", outcomes
        )
        yield self._counters("dead_letters", "Dead letters, by the newest checkpoint", "reason", reasons)
        stored = {name: bulletin.stored_by_table[name] for name in view.tables}
        yield self._counters("rows_stored", "Rows of windows stored since this process began", "table", stored)
        yield self._gauge("sink_trouble", "1 while a sink cannot be written", 1 if bulletin.trouble else 0)

    def _gauge(self, name: str, what: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"streamgauge_{name}", f"{what}.", labels=["job"])
        family.add_metric([self._view.job], value)
        return family

    def _counter(self, name: str, what: str, value: float) -> Metric:
        family = CounterMetricFamily(f"streamgauge_{name}", f"{what}.", labels=["job"])
        family.add_metric([self._view.job], value)
        return family

    def _counters(self, name: str, what: str, by: str, values: Mapping[str, float]) -> Metric:
        family = CounterMetricFamily(f"streamgauge_{name}", f"{what}.", labels=["job", by])
        for each, value in values.items():
            family.add_metric([self._view.job, each], value)
        return family


def registry(view: JobView) -> CollectorRegistry:
    """A registry for the job alone, without the metrics of other libraries in this process."""
    own = CollectorRegistry(auto_describe=False)
    own.register(JobCollector(view))
    return own
