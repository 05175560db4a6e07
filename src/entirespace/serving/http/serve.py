"""The processes of a server: uvicorn with one worker or several, and how they stop.

On SIGTERM a server says that it is not ready, and goes on for a moment, so that a load balancer sends nothing more and
connections that were accepted are read; then it answers what is in flight, and stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BundleError, ConfigError
from ..bundle import Bundle
from ..manifest import MANIFEST, is_bundle
from ..ports import Ports
from .limits import Limits

log = logging.getLogger("entirespace.serve")
SHARED = "PROMETHEUS_MULTIPROC_DIR"
GRACE = 0.5
"""Seconds between "not ready" and the end of listening."""
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
DRAIN = 0.3
"""Seconds after the end of listening in which requests of open connections are read. Each answer closes its own."""


@dataclass(frozen=True)
class Settings:
    """How to serve. It is sent to the workers, which open the bundle themselves."""

    models: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    token: str | None = field(default=None, repr=False)
    reload_seconds: float = 1.0
    grace: float = GRACE
    ports: Ports = field(default_factory=Ports)


def token_of(variable: str | None, file: Path | None) -> str | None:
    """The token in a variable of the environment, or in a file. Raises: ConfigError if there is none."""
    must = "the token must be a text of at least 16 printable ASCII characters without blanks"
    if variable is not None:
        text, where = os.environ.get(variable), f"the variable {variable}"
    elif file is not None:
        try:
            text, where = file.read_text().strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(must, f"the file cannot be read: {error}", where=str(file)) from error
    else:
        return None
    if text is None or len(text) < 16 or not (text.isascii() and text.isprintable() and " " not in text):
        came = "it is not set" if text is None else f"a text of {len(text)} characters"
        raise ConfigError(
            must, came, where=where, do="Make one: python -c 'import secrets; print(secrets.token_hex())'"
        )
    return text


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises: ConfigError if the address cannot be used, BundleError if there is nothing
    to serve."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s", stream=sys.stderr)
    with _listening(settings.host, settings.port) as listening:
        host, port = listening.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("listening on %s with %d worker%s", address, settings.workers, "s" if settings.workers > 1 else "")
        if settings.workers == 1:
            _work(settings, listening)
        else:
            _supervise(settings, listening)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        must = "the server must be able to listen on its address"
        raise ConfigError(must, str(error.strerror), where=f"{host}:{port}", do="Choose another --port") from error
    # asyncio sets this for sockets whose protocol is known, and of these it is not. Without it, an answer waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _accept_no_more(listening: Any) -> None:
    """Let the kernel drop the first packet of new connections, so that none is made just before the socket closes.

    The client sends it again, and is then refused: it knows that nothing was sent. Elsewhere than on Linux a connection
    may be reset in that moment.
    """
    if sys.platform == "linux":
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # a filter of one step: return 0 bytes
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop)))


def _work(settings: Settings, listening: socket.socket) -> None:
    """One worker: opens the bundle, then listens."""
    import uvicorn

    from .app import create_app, guarded
    from .models import Models
    from .server import Server

    models = Models(settings.models, settings.ports, threads=settings.threads, seconds=settings.reload_seconds)
    server = Server(models, settings.limits, settings.token)
    app = create_app(server)
    models.noticed = lambda result: server.metrics.reloads.labels(result).inc()
    models.start()
    config = uvicorn.Config(
        guarded(app, server),
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.limits.seconds) + 1,
    )
    running = uvicorn.Server(config)

    async def stop() -> None:
        """Not ready, but still listening; then only the connections that are open; then no more."""
        server.stopping = True
        log.info("stopping: the server is not ready, and answers what is in flight")
        await asyncio.sleep(settings.grace)
        for each in running.servers:
            for one in each.sockets:
                _accept_no_more(one)
            while select.select(each.sockets, (), (), 0)[0]:  # accept what waits: closing would reset it
                await asyncio.sleep(0)
            each.close()
        server.closing = True
        await asyncio.sleep(DRAIN)
        running.should_exit = True

    tasks: list[asyncio.Task[None]] = []

    def told(number: int) -> None:
        if tasks:  # the second time: at once
            running.should_exit, running.force_exit = True, number == signal.SIGINT
        else:
            tasks.append(asyncio.get_running_loop().create_task(stop()))

    running.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  # its own would stop at once

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told, number)
        await running.serve(sockets=[listening])

    asyncio.run(main())


def _check(folder: Path) -> None:
    """Raises: BundleError if a bundle is not whole, or a folder of models holds none."""
    from .models import MADE_OF

    if is_bundle(folder):
        Bundle.open(folder)
    elif not folder.is_dir() or not any((path / MANIFEST).is_file() for path in folder.iterdir()):
        came = "it holds none" if folder.is_dir() else "there is no such folder"
        raise BundleError(MADE_OF, came, where=str(folder))


def _worker(settings: Settings, listening: socket.socket, parent: int) -> None:
    """The main function of a worker process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s", stream=sys.stderr)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)  # nobody would ever stop a worker without a parent

    threading.Thread(target=watch, daemon=True).start()
    try:
        _work(settings, listening)
    except Exception as error:
        log.error("a worker could not start: %s", error)
        sys.exit(3)


def _supervise(settings: Settings, listening: socket.socket) -> None:
    """Start the workers, start them again when they end, and pass signals on to them.

    A worker is a new process, and no fork: a session of onnxruntime, or a thread pool, would not survive it.
    """
    _check(settings.models)  # here, so that a bad bundle is an error of the command
    folder = tempfile.mkdtemp(prefix="entirespace-metrics-")
    os.environ[SHARED] = folder
    spawn = multiprocessing.get_context("spawn")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def start() -> Any:
        process = spawn.Process(target=_worker, args=(settings, listening, os.getpid()))
        process.start()
        return process

    workers = [start() for _ in range(settings.workers)]
    try:
        while not stopping.wait(0.2):
            for i, worker in enumerate(workers):
                if not worker.is_alive():
                    log.error("worker %d ended with code %s: another one is started", worker.pid, worker.exitcode)
                    _forget(worker.pid or 0)
                    with contextlib.suppress(OSError):  # a worker that was stopped alone has set it for all
                        listening.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
                    time.sleep(0.5)
                    workers[i] = start()
    finally:
        listening.close()  # the workers have it, too: when they close it, nothing may wait to be accepted
        for worker in workers:
            if worker.is_alive():
                worker.terminate()  # SIGTERM
        for worker in workers:
            worker.join(settings.limits.seconds + settings.grace + 5)
            if worker.is_alive():
                worker.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _forget(process: int) -> None:
    """Remove what a worker that ended had as live values."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process)
