"""Names in a log are nobody's, and still tell tenants apart."""

from __future__ import annotations

from epp.core.endpoint import EndpointSpec
from epp.eventlog import pseudonyms
from epp.eventlog.pseudonyms import Pseudonyms


def test_the_same_name_is_the_same_and_others_are_others() -> None:
    """Within a log, and in whoever reads it with its salt."""
    names = Pseudonyms(b"salt")
    assert names.name("ada") == names.name("ada") == Pseudonyms(b"salt").name("ada")
    assert names.name("ada") != names.name("bob")
    assert len(names.name("ada")) == 16


def test_two_logs_have_nothing_in_common() -> None:
    """Another salt, another pseudonym."""
    assert Pseudonyms(b"one").name("ada") != Pseudonyms(b"two").name("ada")


def test_remembered_names_are_bounded() -> None:
    """Clients that make names up don't fill the memory, and a name that was forgotten comes out the same."""
    names = Pseudonyms(b"salt")
    first = names.name("ada")
    for number in range(pseudonyms._REMEMBERED + 10):
        names.name(str(number))
    assert len(names._names) <= pseudonyms._REMEMBERED
    assert names.name("ada") == first


def test_endpoints_that_differ_still_do() -> None:
    """A label that isn't written makes another endpoint of it all the same, as for the core."""
    names = Pseudonyms(b"salt")
    one, other = (EndpointSpec("10.0.0.1:80", labels=(("a", value),)) for value in ("1", "2"))
    assert names.endpoint(one) != names.endpoint(other)
    assert names.endpoint(one).labels == ()


def test_odd_text_has_a_pseudonym() -> None:
    """Even a lone surrogate, which no encoding has."""
    assert Pseudonyms(b"salt").name("\ud800")
