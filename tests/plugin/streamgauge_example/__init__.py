"""A plugin as a user would write it: sources, a sink, a statistic, a kind of model and one of windows, from outside."""

from streamgauge_example.lines import LinesSink
from streamgauge_example.numbered import MailboxSource, NumberedSource
from streamgauge_example.spread import FAMILY
from tests.kinds_of_models import mean_of
from tests.kinds_of_windows import gap
from transforms.aggregation import family
from transforms.collection import sources
from transforms.model import kind
from transforms.storage import sinks
from transforms.time import window


def register() -> None:
    """Registers what the plugin adds."""
    sources.register(NumberedSource)
    sources.register(MailboxSource)
    sinks.register(LinesSink)
    family.register(FAMILY)
    kind.register(mean_of.KIND)
    window.register(gap.KIND)
