"""Real processes without the seconds that importing Beam takes each of them: one imports it, and forks.

Reads requests from its standard input, a line of JSON each, and answers with the child's process id. How a child
ended is written to the file that its request names. When the input ends, the children do.
"""

import importlib
import io
import json
import os
import select
import signal
import sys
import tempfile
from typing import Any, Final, NoReturn

from dataflow.execution.bounded import quieten

REAP_MS: Final = 10


def main() -> None:
    """Starts and buries processes until nobody asks any more."""
    quieten()
    for name in ("collect", "send", "run", "verify"):
        importlib.import_module(f"dataflow.commands.{name}")
    for name in ("dataflow.graph", "dataflow.execution.live", "dataflow.collector.server", "dataflow.main"):
        importlib.import_module(name)
    for name in ("runners.doctor", "runners.prism", "transforms.storage.publish"):
        importlib.import_module(name)
    children: dict[int, str] = {}
    poll = select.poll()
    requests = io.FileIO(0)  # a buffer would hide lines from poll
    poll.register(requests, select.POLLIN)
    print("ready", flush=True)
    while True:
        if poll.poll(REAP_MS):
            line = requests.readline()
            if not line:
                break
            request = json.loads(line)
            child = os.fork()
            if child == 0:
                _become(request)
            children[child] = request["code"]
            print(child, flush=True)
        _bury(children)
    for child in children:
        os.kill(child, signal.SIGKILL)


def _bury(children: dict[int, str]) -> None:
    for child, path in list(children.items()):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            del children[child]
            with open(f"{path}.new", "w") as file:
                file.write(str(os.waitstatus_to_exitcode(status)))
            os.replace(f"{path}.new", path)


def _become(request: dict[str, Any]) -> NoReturn:
    os.setsid()
    os.chdir(request["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, source in enumerate((nothing, os.open(request["out"], append), os.open(request["err"], append))):
        os.dup2(source, number)
    os.closerange(3, 64)
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # the one of the environment, asked for again
    if request["patch"]:
        module, _, function = request["patch"].partition(":")
        getattr(importlib.import_module(module), function)()
    sys.argv = ["streamgauge", *request["arguments"]]
    importlib.import_module("dataflow.main").main()
    os._exit(70)  # main does not return


if __name__ == "__main__":
    main()
