"""A TCP proxy between a stack and a server that lets a test spoil what passes: cut, freeze, delay, truncate, replace.

It knows no protocol. It can hold a connection at the moment when certain bytes are asked, or answered, which makes of
any request a named point.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

_CHUNK = 65_536
_TURN_S = 0.01
_PATIENCE_S = 60.0
_GO_ON = b"HTTP/1.1 100 "  # a server's word that it wants the body: no answer yet

Target = tuple[str, int] | Path
"""Host and port, or a Unix socket."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to all connections.

    Attributes:
        cut: Nobody listens, and the connections that are there are broken.
        frozen: Nothing moves; new connections are made and stay silent.
        delay_s: How long each chunk takes.
        truncate: Of each answer only so many bytes pass, then its connection is broken.
        answer: What is said in the server's place to whoever asks; the connection then ends.
    """

    cut: bool = False
    frozen: bool = False
    delay_s: float = 0.0
    truncate: int | None = None
    answer: bytes | None = None


class Hold:
    """A connection that stops when `pattern` was asked, before it reaches the server or before the answer comes back.

    Only the first that asks is held.
    """

    def __init__(self, pattern: bytes, when: Literal["asked", "answered"]) -> None:
        self.pattern = pattern
        self.when = when
        self.port: int | None = None  # of the one who asked
        self.stands = threading.Event()
        self.released = False

    def wait(self) -> int:
        """Return the pid of the process that is held, once there is one."""
        assert self.stands.wait(_PATIENCE_S), f"nobody asked {self.pattern!r} within {_PATIENCE_S:g} s"
        for connection in psutil.net_connections("tcp4"):
            if connection.laddr and connection.laddr.port == self.port and connection.pid:
                return int(connection.pid)
        raise AssertionError(f"whoever asked {self.pattern!r} is gone")


@dataclass(slots=True, eq=False)
class _Connection:
    port: int
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    tail: bytes = b""
    answered: int = 0
    held: list[Hold] = field(default_factory=list)

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Passes connections on to one target. Listens on the loopback at `port` until closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._weather = Weather()
        self._holds: list[Hold] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._listener: socket.socket | None = None
        self.port = 0
        self._run(self._listen)

    @contextmanager
    def weather(self, weather: Weather) -> Iterator[None]:
        """Spoil everything until the block ends. What was begun under it and is frozen then goes on."""
        self._set(weather)
        try:
            yield
        finally:
            self._set(Weather())

    def break_all(self) -> None:
        """Break every connection; new ones are let through."""
        self._run(self._break)

    @contextmanager
    def hold(self, pattern: bytes, when: Literal["asked", "answered"] = "asked") -> Iterator[Hold]:
        """Hold the first connection that asks this. At the end of the block it is broken: what was not passed on never
        will be."""
        hold = Hold(pattern, when)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)
            hold.released = True

    def close(self) -> None:
        self._set(Weather(cut=True))
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in the loop's thread -----------------------------------------------------------------------------------------

    async def _serve(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        port = writer.get_extra_info("peername")[1]
        try:
            there, out = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(port, (writer, out))
        if self._listener is None:  # we were cut meanwhile
            connection.abort()
            return
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, reader, out, self._ask))
                group.create_task(self._pump(connection, there, writer, self._answer))
        except* ConnectionError:
            pass
        finally:
            self._connections.discard(connection)
            connection.abort()

    async def _listen(self) -> None:
        """On the same port as before, if there was one."""
        # No asyncio.Server: in Python 3.11, one that is closed forgets the connections that it has just accepted.
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:  # whoever knocked is gone
            return
        accepted.setblocking(False)
        serving = self._loop.create_task(self._serve(accepted))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(str(self._target))
        return await asyncio.open_connection(*self._target)

    async def _pump(
        self,
        connection: _Connection,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        treat: Callable[[_Connection, bytes], Awaitable[bytes]],
    ) -> None:
        while data := await source.read(_CHUNK):
            await self._wait_while_frozen()
            if self._weather.delay_s:
                await asyncio.sleep(self._weather.delay_s)
            target.write(await treat(connection, data))
            await target.drain()
        raise ConnectionAbortedError  # the other direction ends with this one

    async def _ask(self, connection: _Connection, data: bytes) -> bytes:
        if (answer := self._weather.answer) is not None:
            writer = connection.writers[0]
            writer.write(answer)
            await writer.drain()
            writer.close()
            raise ConnectionAbortedError
        connection.answered = 0
        seen = connection.tail + data
        for hold in self._holds:
            if hold.port is None and hold.pattern in seen:
                hold.port = connection.port
                connection.held.append(hold)
                if hold.when == "asked":
                    await self._wait_while_held(connection)
        connection.tail = seen[-200:]
        return data

    async def _answer(self, connection: _Connection, data: bytes) -> bytes:
        if not data.startswith(_GO_ON):
            await self._wait_while_held(connection)
        left = self._weather.truncate
        if left is not None:
            left = max(0, left - connection.answered)
            connection.answered += len(data)
            if len(data) > left:
                writer = connection.writers[0]
                writer.write(data[:left])
                await writer.drain()
                writer.close()
                raise ConnectionAbortedError
        return data

    async def _wait_while_held(self, connection: _Connection) -> None:
        for hold in connection.held:
            hold.stands.set()
        while connection.held:
            if any(hold.released for hold in connection.held):
                raise ConnectionAbortedError
            await asyncio.sleep(_TURN_S)

    async def _wait_while_frozen(self) -> None:
        while self._weather.frozen:
            await asyncio.sleep(_TURN_S)

    async def _change(self, weather: Weather) -> None:
        self._weather = weather
        if weather.cut and self._listener:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            await self._break()
        elif not weather.cut and not self._listener:
            await self._listen()

    async def _break(self) -> None:
        broken = set(self._connections)
        for connection in broken:
            connection.abort()
        while broken & self._connections:  # others may come meanwhile
            await asyncio.sleep(_TURN_S)

    async def _end(self) -> None:
        await asyncio.gather(*self._serving)

    # --- from other threads -------------------------------------------------------------------------------------------

    def _set(self, weather: Weather) -> None:
        self._run(lambda: self._change(weather))

    def _run(self, begin: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(20)
