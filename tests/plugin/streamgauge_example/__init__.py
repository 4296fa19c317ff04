"""A plugin as a user would write it: a kind of sink and a statistic, from outside."""

from streamgauge_example.lines import LinesSink
from streamgauge_example.spread import FAMILY
from transforms.aggregation import family
from transforms.storage import sinks


def register() -> None:
    """Registers what the plugin adds."""
    sinks.register(LinesSink)
    family.register(FAMILY)
