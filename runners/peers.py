"""Who is at the other end of a connection on this machine: servers of a runner answer to processes of this user only.

Beam's in-process runner, with several workers, listens on every network interface, and serves pickled code and files of
this machine to any client. `guard` makes it listen on the loopback, and look up the owner of each client's socket in
Linux's table of connections. A system without that table has the loopback alone.
"""

import ipaddress
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import unquote

import grpc  # type: ignore[import-untyped]  # it ships none

TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED: Final = "01"
"""The state of a connection in use; the table names no owner of one that is closed."""

_PEER: Final = re.compile(r"ipv[46]:(.+):(\d{1,5})")


def is_own(peer: str) -> bool:
    """Whether a client, named as gRPC does (`ipv4:127.0.0.1:4711`), is a process of this user, as far as can be known.

    >>> is_own("unix:"), is_own("ipv4:192.0.2.1:4711")
    (True, False)
    """
    if peer.startswith("unix:"):  # the rights of its folder decided
        return True
    found = _PEER.fullmatch(peer)
    addresses = _loopback(found[1]) if found is not None else []
    if found is None or not addresses:
        return False
    tables = [path for path in map(Path, TABLES) if path.exists()]
    if not tables:
        return True
    local = {f"{_written(address)}:{int(found[2]):04X}" for address in addresses}
    rows = (row.split() for path in tables for row in path.read_text(encoding="ascii").splitlines()[1:])
    return any(row[1] in local and row[3] == _ESTABLISHED and int(row[7]) == os.getuid() for row in rows)


def _loopback(text: str) -> "list[ipaddress.IPv4Address | ipaddress.IPv6Address]":
    """The forms of an address in the tables; none, if it is not one of the loopback."""
    try:
        address = ipaddress.ip_address(unquote(text).strip("[]"))
    except ValueError:
        return []
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not address.is_loopback:
        return []
    is_short = isinstance(address, ipaddress.IPv4Address)
    return [address, ipaddress.ip_address(f"::ffff:{address}")] if is_short else [address]


def _written(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address as the table writes it: words of 32 bits, each in this machine's order of bytes.

    >>> _written(ipaddress.ip_address("127.0.0.1")) in ("0100007F", "7F000001")
    True
    """
    packed = address.packed
    words = (packed[place : place + 4] for place in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


class OwnProcessesOnly(grpc.ServerInterceptor):
    """Refuses calls of other users' processes before anything of them is looked at."""

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        kind = "_".join(
            "stream" if streams else "unary" for streams in (handler.request_streaming, handler.response_streaming)
        )
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        behaviour = getattr(handler, kind)

        def answer(request: Any, context: Any) -> Any:
            if not is_own(context.peer()):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "this server answers to its own user only")
            return behaviour(request, context)

        return make(answer, handler.request_deserializer, handler.response_serializer)


class _GuardedServer:
    """A server that listens on the loopback only, whatever interface it is given."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._server = grpc.server(*arguments, interceptors=(OwnProcessesOnly(),), **settings)

    def add_insecure_port(self, address: str) -> int:
        return int(self._server.add_insecure_port(f"127.0.0.1:{address.rpartition(':')[2]}"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class _GuardedGrpc(ModuleType):
    """The module grpc, whose servers are guarded."""

    server = _GuardedServer

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)


def guard() -> None:
    """Guards the servers of Beam's in-process runner in this process."""
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    worker_handlers.grpc = _GuardedGrpc("grpc")
