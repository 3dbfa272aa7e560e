"""A client of the `h2` library talks with our server: it accepts all that we send, and everything arrives."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from epp.extproc.http2.limits import Limits
from tests.extproc.http2.differential.conversing import MOST_STREAMS, Conversation, Move, Play

_SIZES = {
    Move.WINDOW: (0, 0, 1, 100, 20_000, 65_535, 200_000),
    Move.TABLE: (0, 0, 50, 100, 4_096, 10_000),
    Move.FRAME: (0, 1, 3_000, 50_000),
    Move.SEND: (1, 100, 5_000, 40_000, 90_000),
    Move.ANSWER: (1, 100, 5_000, 16_384, 16_385, 40_000, 90_000),
    Move.WIDEN: (1, 100, 30_000),
    Move.WIDEN_ALL: (1, 100, 30_000, 100_000),
    Move.TO_SERVER: (1, 9, 10, 60, 1_000, 20_000, 1 << 20),
    Move.TO_CLIENT: (1, 9, 10, 60, 1_000, 20_000, 1 << 20),
}
_OFTEN = (Move.OPEN, Move.SEND, Move.ANSWER, Move.ANSWER, *[Move.TO_SERVER, Move.TO_CLIENT] * 3)

_PLAYS = st.sampled_from((*Move, *_OFTEN)).flatmap(
    lambda move: st.builds(
        Play, st.just(move), st.integers(0, MOST_STREAMS), st.sampled_from(_SIZES.get(move, (1,)))
    )
)
_LIMITS = st.builds(
    lambda stream, connection, frame: Limits(
        announced_streams=MOST_STREAMS,
        max_streams=MOST_STREAMS,
        stream_window_bytes=stream,
        connection_window_bytes=connection,
        max_frame_bytes=frame,
    ),
    st.sampled_from((65_535, 100_000)),
    st.sampled_from((65_535, 70_000, 300_000)),
    st.sampled_from((16_384, 40_000)),
)


_NARROW = Limits(
    announced_streams=MOST_STREAMS,
    max_streams=MOST_STREAMS,
    stream_window_bytes=65_535,
    connection_window_bytes=65_535,
    max_frame_bytes=16_384,
)


def test_much_more_than_the_windows_passes() -> None:
    """Bodies many times as large as all windows get through both ways, while windows, tables and frames change."""
    conversation = Conversation(_NARROW)
    for _ in range(3):
        conversation.play(Play(Move.OPEN))
    for turn in range(40):
        # Lowered while data is on its way, which takes windows below nothing; tables and frames go up and down.
        conversation.play(Play(Move.WINDOW, size=(65_535, 0, 20_000, 100)[turn % 4]))
        conversation.play(Play(Move.TABLE, size=(0, 4_096, 50)[turn % 3]))
        conversation.play(Play(Move.FRAME, size=(0, 5_000)[turn % 2]))
        conversation.play(Play(Move.OPEN))
        for pick in range(4):
            conversation.play(Play(Move.SEND, pick, 20_000))
            conversation.play(Play(Move.ANSWER, pick, 17_000))
            conversation.play(Play(Move.WIDEN, pick, 9_000))
        conversation.play(Play(Move.WIDEN_ALL, size=30_000))
        if turn % 8 == 7:
            conversation.play(Play(Move.FINISH, turn))
            conversation.play(Play(Move.END, turn))
        conversation.play(Play(Move.TO_SERVER, size=1 << 20))
        conversation.play(Play(Move.TO_CLIENT, size=1 << 20))
    conversation.finish()
    assert sum(half.received for half in conversation.requests.values()) > 10 * 65_535
    assert sum(half.received for half in conversation.responses.values()) > 10 * 65_535


@settings(max_examples=40)
@given(plays=st.lists(_PLAYS, min_size=15, max_size=60), limits=_LIMITS)
def test_an_h2_client_is_served(plays: list[Play], limits: Limits) -> None:
    """However windows, frame sizes and header tables change, h2 accepts what we send, and every byte arrives."""
    conversation = Conversation(limits)
    for play in plays:
        conversation.play(play)
    conversation.finish()
