"""What can be named as a target."""

from __future__ import annotations

import pytest

from benchmarks.stage.target import (
    Balancing,
    Direct,
    EnvoyAlone,
    ForeignPicker,
    OurPicker,
    Security,
    Target,
    TargetError,
    is_foreign,
    parse,
)
from epp.extproc.transports.transport import TransportName
from epp.quickstart.address import Address
from epp.quickstart.envoy import BodyMode

KNOWN = {
    "picker": OurPicker(),
    "picker:lean": OurPicker(BodyMode.LEAN),
    "picker:native": OurPicker(transport=TransportName.NATIVE),
    "picker:grpcio": OurPicker(transport=TransportName.GRPCIO),
    "envoy:least-request": EnvoyAlone(),
    "envoy:round-robin": EnvoyAlone(Balancing.ROUND_ROBIN),
    "direct": Direct(),
}


@pytest.mark.parametrize(("text", "target"), KNOWN.items())
def test_a_name_is_its_target_and_back(text: str, target: Target) -> None:
    """What is typed is what the report shows."""
    assert parse(text) == target
    assert target.name == text
    assert not is_foreign(text)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("extproc=10.0.0.5:9002", ForeignPicker(address=Address("10.0.0.5", 9002))),
        (
            "extproc=[::1]:9002,lean,tls,pid=17,name=go",
            ForeignPicker(
                address=Address("::1", 9002),
                body_mode=BodyMode.LEAN,
                security=Security.TLS,
                pid=17,
                name="go",
            ),
        ),
        (
            "extproc=picker:1,name=go-1.2,plaintext",
            ForeignPicker(address=Address("picker", 1), name="go-1.2"),
        ),
    ],
)
def test_a_foreign_picker_is_where_it_is_said_to_be(text: str, target: ForeignPicker) -> None:
    """Its options come in any order, and are left out as one likes."""
    assert parse(text) == target


@pytest.mark.parametrize("text", ["", "Picker", "picker:full", "envoy", "envoy:random", "direct ", "extproc"])
def test_what_does_not_exist_is_refused_with_what_does(text: str) -> None:
    """The message shows what was typed and everything that can be."""
    with pytest.raises(TargetError) as refused:
        parse(text)
    assert str(refused.value).startswith(f"--target {text}: there is no such target")
    for name in (*KNOWN, "extproc=HOST:PORT"):
        assert name in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extproc=", "HOST:PORT"),
        ("extproc=host", "HOST:PORT"),
        ("extproc=host:0", "not between 1 and 65535"),
        ("extproc=http://host:1", "without a scheme"),
        ("extproc=host:1,", "'' is no option"),
        ("extproc=host:1,fast", "'fast' is no option"),
        ("extproc=host:1,lean=yes", "'lean=yes' is no option"),
        ("extproc=host:1,pid=0", "pid=N"),
        ("extproc=host:1,pid=me", "pid=N"),
        ("extproc=host:1,name=", "name=NAME"),
        ("extproc=host:1,name=../x", "name=NAME"),
    ],
)
def test_an_address_or_option_that_makes_no_sense_is_refused(text: str, words: str) -> None:
    """The message shows what was typed and what would do."""
    with pytest.raises(TargetError) as refused:
        parse(text)
    assert str(refused.value).startswith(f"--target {text}: ")
    assert words in str(refused.value)


@pytest.mark.parametrize("name", [*KNOWN, "envoy:random"])
def test_a_foreign_picker_is_not_called_like_another_target(name: str) -> None:
    """It would be taken for ours, or for none; the message names the word, and another one that would do."""
    with pytest.raises(TargetError) as refused:
        parse(f"extproc=host:1,lean,name={name}")
    assert str(refused.value).startswith(f"--target extproc=host:1,lean,name={name}: ")
    assert f"can't be called {name!r}" in str(refused.value)
    assert "name=go" in str(refused.value)


@pytest.mark.parametrize("name", ["picker2", "my-picker", "envoy", "director"])
def test_a_foreign_picker_may_be_called_something_like_it(name: str) -> None:
    """Only the names themselves are taken; everything else is known to be foreign."""
    assert is_foreign(name)
    assert parse(f"extproc=host:1,name={name}").name == name
