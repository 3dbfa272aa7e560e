"""Hostile peers of a real server, while an innocent one goes on being served."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from epp.extproc.http2.guard import Ending, Offence, Tally
from epp.extproc.http2.limits import Allowance, Limits
from epp.extproc.transports.native import NativeServer
from epp.extproc.transports.transport import ServerSettings
from tests.abuse.attacks import ATTACKS, KIB, MIB, Attack, End
from tests.abuse.holding import held_bytes
from tests.abuse.raw import CHAT, SMALL_BYTES, Raw, Reading, ask, message_frames
from tests.extproc import gateway
from tests.extproc.fakes import FakePicker
from tests.extproc.http2.frames_by_hand import (
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    data,
    ping,
    settings,
    settings_ack,
)

ENDLESS = Allowance(2**31 - 1, 1e9)
TIGHT = Limits(
    max_streams=200,
    rapid_resets=Allowance(500, 50.0),
    fragments=Allowance(1_000, 200.0),
    window_updates=Allowance(1_000, 200.0),
)
"""The larger ones are less than the defaults, so that nobody has to send so much."""
ENOUGH_BYTES = 64 * KIB
"""Of an attack that doesn't end."""


@dataclass(slots=True)
class World:
    """A server, and what it counts."""

    server: NativeServer
    tally: Tally
    picker: FakePicker

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    def offences(self) -> dict[Offence, int]:
        """Those that there were."""
        return {offence: count for offence, count in self.tally.offences.items() if count}

    def kept_bytes(self) -> int:
        """What its connections keep, with what waits to be written."""
        peers = list(self.server._service.peers)
        shared = (self.server._service, self.server._loop, self.picker, self.tally)
        kept = held_bytes(*(peer.calls for peer in peers), without=(*shared, *peers))
        return kept + sum(peer._transport.get_write_buffer_size() for peer in peers if peer._transport)

    def narrow(self) -> None:
        """Let the system take little of what is written, so that it waits with the server."""
        for peer in self.server._service.peers:
            assert peer._transport is not None
            sock = peer._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)

    async def deserted(self) -> None:
        """Wait until every connection is gone."""
        await self.server._service.deserted.wait()


@asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[World]:
    """A server on a free port."""
    picker = FakePicker()
    tally = Tally()
    server = NativeServer(
        picker, settings=ServerSettings(port=0, host="127.0.0.1"), limits=limits or Limits(), tally=tally
    )
    await server.start()
    try:
        yield World(server, tally, picker)
    finally:
        await server.stop()
        assert server.streams == 0
        assert tally.connections_opened == sum(tally.connections_ended.values())
        assert tally.streams_opened == tally.streams_ended


async def attack_with(client: Raw, attack: Attack) -> None:
    """Send until the server has had enough, or that is enough."""
    sent = 0
    for piece in attack.pieces():
        if not await client.send(piece):
            return
        # The server is on this loop, too.
        await asyncio.sleep(0)
        sent += len(piece)
        if attack.end is End.SERVED and sent > ENOUGH_BYTES:
            return


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_others_are_served_while_one_attacks(attack: Attack) -> None:
    """The attacker is told the right code and counted; an innocent gateway's requests are answered all the while."""
    async with serving(TIGHT) as world:
        async with await Raw.connect(world.port) as client:
            reading = asyncio.create_task(client.farewell())
            attacking = asyncio.create_task(attack_with(client, attack))
            # Whoever has been told to go needn't wait for what it still has to send.
            reading.add_done_callback(lambda _: attacking.cancel())
            answers = 0
            while not attacking.done() or answers < 3:
                assert await ask(world.port)
                answers += 1
            if attack.end is End.SERVED:
                assert await ask(world.port)
                assert not reading.done()
                reading.cancel()
            else:
                # The farewell may be lost where the server closes while more is on its way.
                last = await reading
                assert last is None or last.numbers[1] == attack.end.code
        await world.deserted()
        if attack.offence is not None:
            assert world.tally.offences[attack.offence] >= 1
        ends = {ending: count for ending, count in world.tally.connections_ended.items() if count}
        assert ends.pop(_ENDINGS[attack.end]) >= 1
        assert not ends or set(ends) == {Ending.PEER}


_ENDINGS = {
    End.CALM: Ending.LIMIT,
    End.FLOW: Ending.PROTOCOL,
    End.COMPRESSION: Ending.PROTOCOL,
    End.SERVED: Ending.PEER,
}


async def test_a_peer_that_calls_for_answers_and_never_reads_them_is_ended() -> None:
    """Where pings are without limit, unread acknowledgements are not; nothing piles up until then."""
    async with serving(Limits(pings=ENDLESS)) as world:
        async with await Raw.connect(world.port, Reading.NOTHING) as client:
            await client.greet()
            assert await ask(world.port)
            world.narrow()
            most = 0
            while await client.send(ping() * 100):
                most = max(most, world.kept_bytes())
                assert await ask(world.port)
        await world.deserted()
        assert world.offences() == {Offence.UNSENT_REPLIES: 1}
        assert most < 1 * MIB


async def test_a_peer_that_never_reads_its_responses_is_not_read_either() -> None:
    """What is kept for it has an end although it goes on sending; then it is ended, and its requests with it."""
    async with serving(Limits(write_s=0.5, stream_window_bytes=1 * MIB)) as world:
        async with await Raw.connect(world.port, Reading.NOTHING) as client:
            await client.greet()
            number, opening = client.open(*CHAT, bytes(gateway.response_headers()))
            await client.send(opening)
            await world.picker.has_heard(submit=1)
            world.narrow()
            chunk = message_frames(number, bytes(gateway.response_body(b"x" * 16_000)))
            most = 0
            # As much as its windows allow.
            for _ in range(60):
                await client.send(chunk)
                most = max(most, world.kept_bytes())
                assert await ask(world.port)
            await world.deserted()
        assert world.offences() == {Offence.UNREAD: 1}
        assert world.tally.connections_ended[Ending.LIMIT] == 1
        assert most < 2 * MIB
        assert world.picker.heard["ended"] >= 1


async def test_streams_without_a_window_keep_little_and_end() -> None:
    """A peer with windows of zero gets nothing, may send no more than its own windows have, and is ended in the end."""
    async with serving(Limits(stall_s=1.0, stream_window_bytes=64 * KIB)) as world:
        async with await Raw.connect(world.port) as client:
            await client.greet((INITIAL_WINDOW_SIZE, 0))
            number, opening = client.open(*CHAT, bytes(gateway.response_headers()))
            await client.send(opening)
            chunk = message_frames(number, bytes(gateway.response_body(b"x" * 8_000)))
            for _ in range(7):
                await client.send(chunk)
                assert await ask(world.port)
                assert world.kept_bytes() < 256 * KIB
            kinds = set()
            while Offence.STALLED not in world.offences():
                found = await client.frame()
                assert found is not None
                kinds.add(found.kind)
            assert HEADERS in kinds
        await world.deserted()
        assert world.offences() == {Offence.STALLED: 1}


async def test_one_byte_at_a_time_is_slow_and_nothing_else() -> None:
    """A request in segments of one byte is answered like any other."""
    async with serving() as world, await Raw.connect(world.port) as client:
        number, opening = client.open(*CHAT)
        whole = PREFACE + settings() + settings_ack() + opening
        for at in range(len(whole)):
            await client.send(whole[at : at + 1])
            if at % 50 == 0:
                assert await ask(world.port)
        assert await client.first_data(number)
        assert not world.offences()


@pytest.mark.parametrize(
    "beginning",
    [b"", PREFACE[:10], PREFACE, PREFACE + settings()[:8]],
    ids=["nothing", "half a preface", "no settings", "half of its settings"],
)
async def test_a_connection_that_never_begins_is_ended(beginning: bytes) -> None:
    """Whoever connects and doesn't say what HTTP/2 begins with is let go of."""
    async with serving(Limits(handshake_s=0.3)) as world:
        async with await Raw.connect(world.port) as client:
            await client.send(beginning)
            assert await ask(world.port)
            await client.farewell()
        await world.deserted()
        assert world.offences() == {Offence.HANDSHAKE: 1}
        assert world.tally.connections_ended[Ending.HANDSHAKE] == 1


@pytest.mark.parametrize("more", [b"", data(1, bytes(1_000))[:500]], ids=["silence", "half a frame"])
async def test_a_peer_that_has_gone_silent_is_asked_and_then_ended(more: bytes) -> None:
    """It is pinged, doesn't answer, and its requests end: their slots come free."""
    async with serving(Limits(keepalive_s=0.3, keepalive_timeout_s=0.3)) as world:
        async with await Raw.connect(world.port) as client:
            await client.greet()
            number, opening = client.open(*CHAT)
            await client.send(opening)
            assert await client.first_data(number)
            assert world.picker.running
            await client.send(more)
            kinds = []
            while (found := await client.frame()) is not None:
                kinds.append(found.kind)
            assert PING in kinds
        await world.deserted()
        assert world.offences() == {Offence.SILENT: 1}
        assert not world.picker.running


async def test_a_peer_that_answers_pings_may_be_silent_for_ever() -> None:
    """Keepalive finds the dead, not the patient."""
    async with serving(Limits(keepalive_s=0.1, keepalive_timeout_s=0.4)) as world:
        client = await Raw.connect(world.port)
        await client.greet()
        number, opening = client.open(*CHAT)
        await client.send(opening)
        assert await client.first_data(number)
        pings = 0
        while pings < 6:
            found = await client.frame()
            assert found is not None
            if found.kind == PING and not found.flags:
                pings += 1
                await client.send(ping(found.payload, ack=True))
        assert not world.offences()
        async with client:
            pass


async def test_connections_over_the_limit_are_closed_and_others_come_in_later() -> None:
    """The fourth of three is closed at once and counted; when one leaves, the next is served."""
    async with serving(Limits(max_connections=3)) as world:
        clients = [await Raw.connect(world.port) for _ in range(3)]
        for client in clients:
            await client.greet()
            assert await client.frame() is not None
        for _ in range(5):
            async with await Raw.connect(world.port) as refused:
                await refused.greet()
                assert await refused.frame() is None
        assert world.offences() == {Offence.CONNECTIONS: 5}
        for client in clients:
            async with client:
                pass
        await world.deserted()
        assert await ask(world.port)


async def test_messages_that_never_end_are_bounded_together() -> None:
    """The stream that passes the limit is ended with RESOURCE_EXHAUSTED; the others and the connection go on."""
    limits = Limits(max_message_bytes=MIB, max_unfinished_bytes=MIB)
    async with serving(limits) as world, await Raw.connect(world.port) as client:
        await client.greet()
        begun = b"\x00\x00\x0f\x00\x00" + bytes(100_000)
        for _ in range(40):
            number, opening = client.open()
            frames = b"".join(data(number, begun[at : at + 16_384]) for at in range(0, len(begun), 16_384))
            await client.send(opening + frames)
            assert world.kept_bytes() < 2 * MIB
        while world.tally.offences[Offence.UNFINISHED_MESSAGES] < 25:
            assert await ask(world.port)
        number, opening = client.open(*CHAT)
        await client.send(opening)
        assert await client.first_data(number)
