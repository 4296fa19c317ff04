"""A plugin as a user would write it: sources, a kind of sink, a statistic and a kind of model, from outside."""

from streamgauge_example.lines import LinesSink
from streamgauge_example.numbered import MailboxSource, NumberedSource
from streamgauge_example.spread import FAMILY
from tests.kinds_of_models.mean_of import KIND
from transforms.aggregation import family
from transforms.collection import sources
from transforms.model import kind
from transforms.storage import sinks


def register() -> None:
    """Registers what the plugin adds."""
    sources.register(NumberedSource)
    sources.register(MailboxSource)
    sinks.register(LinesSink)
    family.register(FAMILY)
    kind.register(KIND)
