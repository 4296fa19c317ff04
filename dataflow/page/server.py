"""Serves the page of a live job from a thread of its process."""

import asyncio
import errno
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow.compute as pc
import uvicorn

from dataflow.errors import UsageError
from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.execution.stored import read_table, rows_between
from dataflow.job.plan import Job
from dataflow.page.app import application
from dataflow.page.connections import CONNECTIONS, Connection
from dataflow.page.events import EventStreams
from dataflow.page.view import JobView
from transforms.errors import SinkError
from transforms.process.progress import Bulletin
from transforms.record import ledger
from transforms.storage.tables import DEAD_LETTERS, LEDGER

GOODBYE_SECONDS: Final = 1
"""How long browsers may take to notice the end of the job."""

ANY_ADDRESS: Final = ("0.0.0.0", "::")


@contextmanager
def serving(
    job: Job, serve: str, say: Callable[[str], None], bulletin: Bulletin, *, from_nothing: bool = False
) -> Iterator[str]:
    """Serves the page of a job until the context ends; yields its URL.

    Args:
        serve: HOST:PORT; without a host, only this machine has access; port 0 is any free one.
        say: receives the sentence that says where the page is.
        bulletin: the job's status.
        from_nothing: whether the job starts from nothing, whatever was before.

    Raises:
        UsageError: if the address is invalid or taken.
    """
    host, port = parse_address(serve)
    listener = _listen(host, port)
    if not from_nothing:
        recall(job, bulletin)
    shown = f"[{host}]" if ":" in host else "localhost" if host in ("127.0.0.1", *ANY_ADDRESS) else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    streams = EventStreams(JobView.of(job, bulletin))
    server = uvicorn.Server(
        uvicorn.Config(
            application(streams.view, streams, frozenset({"localhost", host.lower(), socket.gethostname().lower()})),
            http=Connection,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",  # requests are not logged; errors are answered with 500
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
        )
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), name="page", daemon=True)
    thread.start()
    say(f"page at {url}")
    try:
        yield url
    finally:
        streams.ending.set()
        server.should_exit = True
        thread.join(GOODBYE_SECONDS + 2)
        listener.close()


def parse_address(text: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT.

    >>> parse_address("0.0.0.0:80"), parse_address(":8081"), parse_address("[::1]:8081")
    (('0.0.0.0', 80), ('localhost', 8081), ('::1', 8081))

    Raises:
        UsageError: if the text is not such an address.
    """
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:\s]*)):(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise UsageError(f"--serve must be HOST:PORT, such as localhost:8081, is {text}")
    return match[1] or match[2] or "localhost", int(match[3])


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` may have two addresses; browsers try the other one if the first does not answer.
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(CONNECTIONS)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        why = "is taken; use another port" if error.errno == errno.EADDRINUSE else f"({error.strerror or error})"
        raise UsageError(f"--serve {host}:{port} {why}") from None
    return listener


def recall(job: Job, bulletin: Bulletin) -> None:
    """Fills the bulletin with the past of the job: the ends of its source and of the newest checkpoint, the totals."""
    first, end = job.source.span()
    manifest = checkpoint_folder(job).read()
    if manifest is None or not manifest.checkpoints:
        bulletin.set(position=first, end=end)
        return
    newest = manifest.newest
    bulletin.set(position=newest.source["position"], end=end, checkpoint=newest.taken)
    if newest.totals is not None:
        bulletin.account(newest.totals, newest.reasons)
        return
    try:
        book, letters = read_table(job, LEDGER), read_table(job, DEAD_LETTERS)
    except SinkError:
        return  # the job itself reports the sink's error; the page counts from here
    # A database may hold rows from after the checkpoint; their records are read and counted again.
    book = rows_between(job, LEDGER, book, None, newest)
    letters = rows_between(job, DEAD_LETTERS, letters, None, newest)
    reasons = pc.value_counts(letters["reason"]).to_pylist()
    bulletin.account(ledger.totals(book), {entry["values"]: entry["counts"] for entry in reasons})
