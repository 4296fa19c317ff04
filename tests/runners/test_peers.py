"""Only this user's processes may speak to the servers of a runner in this process."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # it ships none
import pytest
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from runners import peers
from tests.servers import as_user

NOBODY = 65534


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        yield made


def named(connection: tuple[socket.socket, tuple[str, int]]) -> str:
    return f"ipv4:{connection[1][0]}:{connection[1][1]}"


def test_a_process_of_this_user_is_known_while_it_is_connected(listener: socket.socket) -> None:
    client = socket.create_connection(listener.getsockname())
    accepted = listener.accept()
    assert peers.is_own(named(accepted))
    client.close()
    assert not peers.is_own(named(accepted)), "the table names no owner of a closed connection"
    accepted[0].close()


@pytest.mark.parametrize("peer", ["ipv4:192.0.2.1:80", "ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:1", "ipv6:[fe80::1]:9", "?"])
def test_who_is_not_known_is_not_own(peer: str) -> None:
    assert not peers.is_own(peer)


def test_ipv6_is_looked_up_too() -> None:
    with (
        closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as listener,
        closing(socket.create_connection(listener.getsockname()[:2])),
    ):
        connection, address = listener.accept()
        with closing(connection):
            assert peers.is_own(f"ipv6:%5B::1%5D:{address[1]}")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user_is_not_own(listener: socket.socket) -> None:
    script = f"exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}; sleep 60"
    stranger = subprocess.Popen([*as_user(NOBODY, NOBODY), "bash", "-c", script])
    try:
        listener.settimeout(20)
        accepted = listener.accept()
        assert not peers.is_own(named(accepted))
        accepted[0].close()
    finally:
        stranger.kill()
        stranger.wait()


def test_beams_servers_listen_on_the_loopback_and_refuse_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_handlers, "grpc", worker_handlers.grpc)
    peers.guard()
    server = worker_handlers.GrpcServer(None, None, None)
    try:
        ports = {server.control_port, server.data_port, server.state_port, server.logging_port}
        rows = [row.split() for table in peers.TABLES for row in Path(table).read_text().splitlines()[1:]]
        hosts = {
            row[1].partition(":")[0] for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) in ports
        }
        assert hosts == {"0000000000000000FFFF00000100007F"}
        assert len(list(said(server.logging_port))) == 1
        monkeypatch.setattr(os, "getuid", lambda: NOBODY + 1)
        for port in ports:
            with pytest.raises(grpc.RpcError, match="answers to its own user only"):
                list(said(port))
    finally:
        server.close()


def said(port: int) -> Iterator[object]:
    """What the server at a port says to a worker that says nothing, whatever service it is asked for."""
    stubs = (
        (beam_fn_api_pb2_grpc.BeamFnLoggingStub, "Logging"),
        (beam_fn_api_pb2_grpc.BeamFnControlStub, "Control"),
        (beam_fn_api_pb2_grpc.BeamFnDataStub, "Data"),
        (beam_fn_api_pb2_grpc.BeamFnStateStub, "State"),
    )
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for stub, method in stubs:
            try:
                yield from getattr(stub(channel), method)(iter(()), timeout=20, metadata=(("worker_id", "w"),))
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    raise
