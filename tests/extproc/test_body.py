"""Bodies on their way through: whole, in order, in pieces that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.body import USUAL_PIECE_BYTES, Edit, PassingBody, Piece


def drain(body: PassingBody) -> list[Piece]:
    """Everything that can go now."""
    found = []
    while (piece := body.next_piece()) is not None:
        found.append(piece)
    return found


sizes = st.one_of(st.integers(0, 10), st.integers(0, 5000), st.integers(50_000, 200_000))


@given(st.lists(st.tuples(sizes, st.booleans()), max_size=12), st.booleans())
def test_every_byte_goes_once_in_order_in_pieces_that_fit(steps: list[tuple[int, bool]], ended: bool) -> None:
    """Whatever the chunks and whenever pieces are taken, the bytes are the same and no piece is too large."""
    body = PassingBody()
    came = b""
    went: list[Piece] = []
    largest = USUAL_PIECE_BYTES
    for number, (size, take) in enumerate(steps):
        chunk = bytes([number]) * size
        came += chunk
        largest = max(largest, size)
        body.add(chunk)
        if take:
            went += drain(body)
    if ended:
        body.end()
    went += drain(body)
    assert b"".join(piece.body for piece in went) == came
    assert all(len(piece.body) <= largest for piece in went)
    assert [piece.end_of_stream for piece in went] == [False] * (len(went) - ended) + [True] * ended
    assert all(piece.body for piece in went[:-1])


def test_a_large_chunk_goes_as_the_object_that_came() -> None:
    """What is too large to merge is never copied."""
    chunk = b"x" * 100_000
    body = PassingBody()
    body.add(chunk)
    piece = body.next_piece()
    assert piece is not None
    assert piece.body is chunk
    assert body.next_piece() is None


def test_an_empty_end_travels_with_the_last_bytes() -> None:
    """The empty message that ends most bodies costs no message of ours."""
    body = PassingBody()
    body.add(b"all of it")
    body.add(b"")
    body.end()
    assert drain(body) == [Piece(b"all of it", end_of_stream=True)]


def test_an_end_after_everything_went_is_a_piece_of_its_own() -> None:
    """If the bytes have gone, the end follows by itself, once."""
    body = PassingBody()
    body.add(b"x")
    assert drain(body) == [Piece(b"x", end_of_stream=False)]
    body.end()
    assert drain(body) == [Piece(b"", end_of_stream=True)]
    assert drain(body) == []


def test_neighbours_travel_together() -> None:
    """Chunks that fit into one message become one message."""
    body = PassingBody()
    for _ in range(10):
        body.add(b"x" * 16_384)
    assert [len(piece.body) for piece in drain(body)] == [49_152, 49_152, 49_152, 16_384]


def test_tiny_chunks_are_not_held_one_by_one() -> None:
    """A body in single bytes is held in few objects."""
    body = PassingBody()
    for _ in range(100_000):
        body.add(b"x")
    assert len(body._chunks) <= 100_000 // 2048
    assert body.whole() == b"x" * 100_000


@given(
    st.lists(st.integers(0, 6000), min_size=1, max_size=8),
    st.lists(st.integers(0, 20_000), max_size=8),
    st.lists(st.binary(max_size=20), min_size=4, max_size=4),
)
def test_parts_are_replaced_wherever_chunks_end(
    sizes: list[int], cuts: list[int], replacements: list[bytes]
) -> None:
    """The body that goes out is the one that came with its parts replaced, in pieces that fit."""
    whole = bytes(number % 251 for number in range(sum(sizes)))
    edges = sorted({cut for cut in cuts if cut < len(whole)})
    edits = [
        Edit(start, end, replacement)
        for start, end, replacement in zip(edges[::2], edges[1::2], replacements, strict=False)
    ]
    wanted = whole
    for edit in reversed(edits):
        wanted = wanted[: edit.start] + edit.replacement + wanted[edit.end :]
    body = PassingBody()
    start = 0
    for size in sizes:
        body.add(whole[start : start + size])
        start += size
    body.replace(edits)
    assert body.held_bytes == len(wanted)
    body.end()
    pieces = drain(body)
    assert body.held_bytes == 0
    assert b"".join(piece.body for piece in pieces) == wanted
    assert len(wanted) == len(whole) + sum(edit.growth for edit in edits)
    assert all(len(piece.body) <= USUAL_PIECE_BYTES for piece in pieces)


def test_something_can_be_put_in_between() -> None:
    """A part without bytes is a place."""
    body = PassingBody()
    body.add(b"{}")
    body.replace([Edit(1, 1, b"x")])
    assert body.whole() == b"{x}"


def test_chunks_without_a_change_stay_the_objects_that_came() -> None:
    """A change at the beginning of a large body doesn't copy the rest of it."""
    chunks = [bytes([number]) * 100_000 for number in range(3)]
    body = PassingBody()
    for chunk in chunks:
        body.add(chunk)
    body.replace([Edit(0, 1, b"x")])
    bodies = [piece.body for piece in drain(body)]
    assert bodies[-2:] == chunks[1:]
    assert all(went is came for went, came in zip(bodies[-2:], chunks[1:], strict=True))


def test_a_chunk_that_grows_is_cut() -> None:
    """What a change adds doesn't make a piece larger than the gateway takes."""
    body = PassingBody()
    body.add(b"a" * USUAL_PIECE_BYTES)
    body.replace([Edit(61_000, 61_001, b"b" * 500)])
    pieces = drain(body)
    assert [len(piece.body) for piece in pieces] == [61_000, 1_499]
