"""What gateways' connections come to, on the metrics page."""

from __future__ import annotations

from epp.extproc.http2.guard import Ending, Offence, Tally


def test_without_figures_nothing_of_it_appears(world):
    """A transport that doesn't count shows no zeros that look like peace."""
    assert "epp_extproc" not in world.metrics.page().decode()


def test_every_label_is_there_from_the_start(world):
    """The first offence is an increase from 0, which an alert can see."""
    world.connections = Tally()
    offences = {labels["offence"]: value for labels, value in world.rows("epp_extproc_offences_total")}
    assert offences == {offence.value: 0 for offence in Offence}
    endings = {labels["reason"]: value for labels, value in world.rows("epp_extproc_connections_ended_total")}
    assert endings == {ending.value: 0 for ending in Ending}


def test_what_is_open_is_what_was_opened_less_what_ended(world):
    """Gauges of connections and streams, and the counters they come from."""
    world.connections = tally = Tally()
    tally.connections_opened = 5
    tally.ended(Ending.PEER)
    tally.ended(Ending.LIMIT)
    tally.streams_opened = 70
    tally.streams_ended = 40
    assert world.value("epp_extproc_connections") == 3
    assert world.value("epp_extproc_connections_opened_total") == 5
    assert world.value("epp_extproc_connections_ended_total", reason="limit") == 1
    assert world.value("epp_extproc_streams") == 30
    assert world.value("epp_extproc_streams_opened_total") == 70


def test_each_figure_has_its_series(world):
    """No two of them are mixed up."""
    world.connections = tally = Tally()
    tally.offended(Offence.STREAMS)
    tally.pings_received = 2
    tally.resets_received = 3
    tally.resets_sent = 4
    tally.bytes_in = 5
    tally.bytes_out = 6
    tally.messages_in = 7
    tally.messages_out = 8
    tally.offended(Offence.RAPID_RESETS)
    assert world.value("epp_extproc_streams_refused_total") == 1
    assert world.value("epp_extproc_pings_total") == 2
    assert world.value("epp_extproc_stream_resets_total", by="gateway") == 3
    assert world.value("epp_extproc_stream_resets_total", by="picker") == 4
    assert world.value("epp_extproc_bytes_total", direction="in") == 5
    assert world.value("epp_extproc_bytes_total", direction="out") == 6
    assert world.value("epp_extproc_messages_total", direction="in") == 7
    assert world.value("epp_extproc_messages_total", direction="out") == 8
    assert world.value("epp_extproc_offences_total", offence="rapid_resets") == 1
