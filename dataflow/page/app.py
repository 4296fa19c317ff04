"""The page's addresses: `/`, `/events`, `/metrics`, `/healthz` and `/readyz`. All are read-only."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dataflow.page.connections import EVENTS
from dataflow.page.document import document
from dataflow.page.events import EventStreams
from dataflow.page.metrics import registry
from dataflow.page.view import JobView

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def application(view: JobView, streams: EventStreams, names: frozenset[str]) -> Starlette:
    """The application that shows a job.

    Args:
        names: the names of this host under which a browser may request the job's data, in addition to any IP address.
            Another name may be an attacker's, pointed here to read what only this machine should see.
    """
    page, own = document(view), registry(view)

    async def show(request: Request) -> Response:
        return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})

    async def events(request: Request) -> Response:
        if streams.is_full:
            return PlainTextResponse("too many browsers follow this job\n", 503)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(streams.follow(request.headers.get("last-event-id")), media_type="text/event-stream")

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(own), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def is_alive(request: Request) -> Response:
        if streams.ending.is_set():
            return PlainTextResponse("the job is ending\n", 503)
        return PlainTextResponse("ok\n")

    async def is_ready(request: Request) -> Response:
        reason = "the job is ending" if streams.ending.is_set() else view.unready()
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)

    routes = [
        Route("/", guarded(asked_by(names, show))),
        Route(EVENTS, guarded(asked_by(names, events))),
        Route("/metrics", guarded(metrics)),
        Route("/healthz", guarded(is_alive)),
        Route("/readyz", guarded(is_ready)),
    ]
    return Starlette(routes=routes)


def asked_by(
    names: frozenset[str], endpoint: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that answers under some names of this host and its addresses only."""

    async def answer(request: Request) -> Response:
        host = host_of(request.headers.get("host", ""))
        if host in names or is_address(host):
            return await endpoint(request)
        return PlainTextResponse(f"this job is not at {host!r}; ask for {sorted(names)[0]}\n", 421)

    return answer


def guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose answers a browser does not share with other sites."""

    async def answer(request: Request) -> Response:
        response = await endpoint(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return answer


def host_of(header: str) -> str:
    """The host that a request is for.

    >>> host_of("LocalHost:8081"), host_of("[::1]:8081"), host_of("::1")
    ('localhost', '::1', '::1')
    """
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header if header.count(":") > 1 else header.partition(":")[0].removesuffix(".")


def is_address(host: str) -> bool:
    """Whether a host is an IP address, which an attacker cannot point elsewhere.

    >>> is_address("127.0.0.1"), is_address("::1"), is_address("rebound.example")
    (True, True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
