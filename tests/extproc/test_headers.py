"""Reading and changing headers."""

from __future__ import annotations

import pytest

from epp.extproc import headers
from epp.extproc.ingress import Explanation
from epp.extproc.wire import ext_proc_pb2 as wire


def sent(**values: str | bytes) -> list[wire.HeaderValue]:
    """Headers in `raw_value`; underscores in names stand for dashes."""
    return [
        wire.HeaderValue(
            key=name.replace("_", "-"), raw_value=value.encode() if isinstance(value, str) else value
        )
        for name, value in values.items()
    ]


def test_a_request_without_our_headers() -> None:
    """What isn't given has its default, and nothing is removed or called invalid."""
    control = headers.read_request([])
    assert control == headers.RequestControl(
        request_name="",
        objective="",
        fairness_id="default-flow",
        ttl_s=None,
        slo_s=None,
        model_rewrite="",
        path="",
        content_type="",
        content_length=None,
        present=(),
        invalid=(),
        test_selection="",
    )


def test_raw_value_and_value_are_both_read() -> None:
    """A gateway may fill either field."""
    listed = [
        wire.HeaderValue(key="x-llm-d-inference-objective", value=b"gold"),
        wire.HeaderValue(key="x-request-id", raw_value=b"r1"),
    ]
    control = headers.read_request(listed)
    assert (control.objective, control.request_name) == ("gold", "r1")


def test_names_are_compared_without_case() -> None:
    """A gateway that doesn't lower-case header names is understood."""
    control = headers.read_request([wire.HeaderValue(key="X-LLM-D-Inference-Objective", raw_value=b"gold")])
    assert control.objective == "gold"
    assert control.present == ("x-llm-d-inference-objective",)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_current_spelling_wins(swapped: bool) -> None:
    """Of two spellings the current one counts, in whichever order they come."""
    listed = sent(
        x_gateway_inference_objective="old",
        x_llm_d_inference_objective="new",
        x_gateway_inference_fairness_id="tenant-old",
        x_llm_d_inference_fairness_id="tenant-new",
        x_gateway_model_name_rewrite="model-old",
        x_llm_d_model_name_rewrite="model-new",
    )
    control = headers.read_request(reversed(listed) if swapped else listed)
    assert (control.objective, control.fairness_id, control.model_rewrite) == (
        "new",
        "tenant-new",
        "model-new",
    )
    assert len(control.present) == 6


def test_the_former_spelling_alone_counts() -> None:
    """The former names still work, also beside an empty current one."""
    control = headers.read_request(
        sent(
            x_gateway_inference_objective="old",
            x_llm_d_inference_fairness_id="",
            x_gateway_inference_fairness_id="t",
            x_gateway_model_name_rewrite="m",
        )
    )
    assert (control.objective, control.fairness_id, control.model_rewrite) == ("old", "t", "m")


def test_the_first_of_repeated_headers_counts() -> None:
    """A header that comes twice can't override what a gateway put first."""
    listed = sent(x_llm_d_inference_objective="first") + sent(x_llm_d_inference_objective="second")
    assert headers.read_request(listed).objective == "first"


@pytest.mark.parametrize(
    ("value", "seconds"), [("1m30s", 90.0), ("250", 0.25), ("250ms", 0.25), (" 2s ", 2.0), ("1", 0.001)]
)
def test_a_ttl_is_a_go_duration_or_milliseconds(value: str, seconds: float) -> None:
    """Both forms of the header give seconds."""
    assert headers.read_request(sent(x_llm_d_inference_ttl=value)).ttl_s == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["soon", "-1s", "0", "0s", "1e3", "9" * 30, b"\xff\xfe", "\u0661"])
def test_an_invalid_ttl_is_ignored_and_noted(value: str | bytes) -> None:
    """What is no span of time, or none to wait, leaves the policy's budget in force."""
    control = headers.read_request(sent(x_llm_d_inference_ttl=value))
    assert control.ttl_s is None
    assert control.invalid == ("x-llm-d-inference-ttl",)
    assert control.present == ("x-llm-d-inference-ttl",)


@pytest.mark.parametrize(
    ("value", "seconds"), [("250", 0.25), ("0", 0.0), (" 1500 ", 1.5), ("9223372036854", 9223372036.854)]
)
@pytest.mark.parametrize("name", ["x_llm_d_slo_ttft_ms", "x_slo_ttft_ms"])
def test_an_slo_is_in_whole_milliseconds(name: str, value: str, seconds: float) -> None:
    """Either spelling gives seconds, 0 included, and is to be removed."""
    control = headers.read_request(sent(**{name: value}))
    assert control.slo_s == pytest.approx(seconds)
    assert control.invalid == ()
    assert control.present == (name.replace("_", "-"),)


@pytest.mark.parametrize(
    "value", ["-1", "+1", "1.5", "1e3", "soon", "250ms", "9223372036855", "9" * 40, b"\xff", "\u0661"]
)
def test_an_invalid_slo_is_ignored_and_noted(value: str | bytes) -> None:
    """What is no number of milliseconds, or more than Go's durations hold, is as good as none; the other one counts."""
    control = headers.read_request(sent(x_llm_d_slo_ttft_ms=value))
    assert (control.slo_s, control.invalid) == (None, ("x-llm-d-slo-ttft-ms",))
    control = headers.read_request(sent(x_llm_d_slo_ttft_ms=value, x_slo_ttft_ms="700"))
    assert (control.slo_s, control.invalid) == (0.7, ("x-llm-d-slo-ttft-ms",))


def test_the_current_slo_wins() -> None:
    """Of two usable spellings the current one counts; both are to be removed."""
    control = headers.read_request(sent(x_slo_ttft_ms="700", x_llm_d_slo_ttft_ms="200"))
    assert control.slo_s == 0.2
    assert set(control.present) == {"x-slo-ttft-ms", "x-llm-d-slo-ttft-ms"}


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a\x00b", b"x" * 60_000])
def test_an_invalid_identity_is_ignored_and_noted(value: bytes) -> None:
    """Values that are not UTF-8, not printable or absurdly long name no objective, no tenant and no model."""
    control = headers.read_request(
        sent(
            x_llm_d_inference_objective=value,
            x_llm_d_inference_fairness_id=value,
            x_llm_d_model_name_rewrite=value,
        )
    )
    assert (control.objective, control.fairness_id, control.model_rewrite) == ("", "default-flow", "")
    assert control.invalid == (
        "x-llm-d-inference-objective",
        "x-llm-d-inference-fairness-id",
        "x-llm-d-model-name-rewrite",
    )


def test_an_invalid_current_value_leaves_the_former_one() -> None:
    """Ignoring a value means going on as if it weren't there."""
    control = headers.read_request(
        sent(x_llm_d_inference_objective=b"\xff", x_gateway_inference_objective="old")
    )
    assert control.objective == "old"
    assert control.invalid == ("x-llm-d-inference-objective",)


def test_other_headers_may_hold_anything() -> None:
    """60 KB and bytes that are no text are tolerated where they don't matter."""
    control = headers.read_request(
        sent(x_request_id=b"\xff" * 60_000, content_length="12kB", cookie=b"\x80" * 60_000)
    )
    assert len(control.request_name) == 256
    assert control.content_length is None
    assert control.invalid == ()


def test_path_and_content_type_lose_what_is_not_theirs() -> None:
    """A query may hold secrets, and a media type has parameters: neither is looked at."""
    control = headers.read_request(
        [
            wire.HeaderValue(key=":path", raw_value=b"/v1/completions?api_key=secret"),
            wire.HeaderValue(key="content-type", raw_value=b"Application/JSON; charset=utf-8"),
            wire.HeaderValue(key="content-length", raw_value=b"77"),
        ]
    )
    assert (control.path, control.content_type, control.content_length) == (
        "/v1/completions",
        "application/json",
        77,
    )


def test_a_response_tells_its_status_and_false_claims() -> None:
    """The status is a number or unknown, and what a backend tells of a queue is noticed."""
    assert headers.read_response([wire.HeaderValue(key=":status", raw_value=b"404")]) == (404, ())
    claims = sent(x_llm_d_flow_queue_duration_ms="9", other="1", x_llm_d_flow_priority="7")
    assert headers.read_response(claims) == (
        None,
        ("x-llm-d-flow-queue-duration-ms", "x-llm-d-flow-priority"),
    )


def test_a_client_is_told_of_waits_and_where_asked_to_of_reasons() -> None:
    """A wait is always told, the rest only with an explanation, and a reason only where there is one."""
    assert headers.account_of(0.0, None) == {}
    assert headers.account_of(0.25, None) == {"x-llm-d-flow-queue-duration-ms": "250"}
    assert headers.account_of(0.0, Explanation(0, 0, "")) == {
        "x-llm-d-flow-priority": "0",
        "x-llm-d-flow-position": "0",
    }
    assert headers.account_of(0.25, Explanation(10, 3, "same_band", 4711)) == {
        "x-llm-d-flow-queue-duration-ms": "250",
        "x-llm-d-flow-priority": "10",
        "x-llm-d-flow-position": "3",
        "x-llm-d-flow-request-id": "4711",
        "x-llm-d-flow-blocked-by": "same_band",
    }


def test_setting_a_header_replaces_it() -> None:
    """A header is set in `raw_value`, in place of any that is there."""
    mutation = wire.HeaderMutation()
    headers.set_header(mutation, "a", "b")
    (option,) = mutation.set_headers
    assert (option.header.key, option.header.raw_value, option.header.value) == ("a", b"b", b"")
    assert option.append_action == wire.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0001, "1"), (0.25, "250"), (0.2501, "251"), (60.0, "60000")]
)
def test_a_wait_is_shown_in_whole_milliseconds(seconds: float, shown: str) -> None:
    """A wait is rounded up, so that one that happened never shows as 0."""
    assert headers.waited_ms(seconds) == shown
