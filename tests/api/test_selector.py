"""Label selectors: the whole syntax, what matches, and what is said of a mistake."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.api.selector import Operator, Requirement, Selector, key_problem, parse_selector

keys = st.sampled_from(["app", "tier", "example.com/app", "in", "notin", "0", "A_b.c"])
values = st.sampled_from(["", "x", "y", "X-1_2.3", "in", "notin", "7", "-7"])
numbers = st.integers(min_value=0, max_value=2**63 - 1).map(str) | st.sampled_from(["007", "5", "0" * 63])
spaces = st.sampled_from(["", " ", "\t", " \n "])
labels_given = st.dictionaries(
    keys, values | st.sampled_from(["5", "-3", "99999999999999999999"]), max_size=4
)


@st.composite
def pieces(draw):
    """One requirement as tokens, and a function that says naively whether labels fulfil it."""
    key, kind = draw(keys), draw(st.sampled_from(["=", "==", "!=", "in", "notin", "", "!", ">", "<"]))
    if kind == "":
        return [key], lambda labels: key in labels
    if kind == "!":
        return ["!", key], lambda labels: key not in labels
    if kind in {">", "<"}:
        bound = draw(numbers)

        def compares(labels):
            if not re.fullmatch(r"[0-9]+", labels.get(key, "")):
                return False
            value = int(labels[key])
            if value >= 2**63:
                return False
            return value > int(bound) if kind == ">" else value < int(bound)

        return [key, kind, bound], compares
    # A sign and a minus stand together; a value of ours never begins with one.
    plain = values.filter(lambda value: not value.startswith("-"))
    if kind in {"in", "notin"}:
        wanted = draw(st.lists(plain, min_size=1, max_size=3))
        if wanted == [""]:
            wanted = ["", ""]  # `()` is an empty set, `(,)` holds an empty value
        listed = [token for value in wanted for token in (value, ",")][:-1]
        tokens = [key, f" {kind} ", "(", *listed, ")"]
    else:
        wanted = [draw(plain)]
        tokens = [key, kind, *wanted]
    if kind in {"!=", "notin"}:
        return tokens, lambda labels: not (key in labels and labels[key] in wanted)
    return tokens, lambda labels: key in labels and labels[key] in wanted


@st.composite
def written(draw):
    """A selector in any spelling, and what it means."""
    drawn = draw(st.lists(pieces(), max_size=4))
    text = draw(spaces)
    for index, (tokens, _) in enumerate(drawn):
        text += "," if index else ""
        text += "".join(draw(spaces) + token + draw(spaces) for token in tokens)
    return text, [meaning for _, meaning in drawn]


@given(drawn=written(), labels=labels_given)
def test_every_spelling_matches_what_it_means(drawn, labels):
    """Any mixture of operators and white space agrees with a naive reading, on mappings and on pairs."""
    text, meanings = drawn
    selector = parse_selector(text)
    expected = all(meaning(labels) for meaning in meanings)
    assert selector.matches(labels) is expected
    assert selector.matches(tuple(sorted(labels.items()))) is expected


@given(drawn=written())
def test_the_canonical_text_is_read_back_as_the_same_selector(drawn):
    """`str` is a fixed point: it parses, to an equal selector, which writes itself the same way."""
    selector = parse_selector(drawn[0])
    assert parse_selector(str(selector)) == selector
    assert str(parse_selector(str(selector))) == str(selector)
    assert hash(parse_selector(str(selector))) == hash(selector)


@given(text=st.text(alphabet="ab1=!(),<> \tinot-./_\nä", max_size=12) | st.text(max_size=12))
def test_any_text_is_a_selector_or_says_why_not(text):
    """Nothing but a ValueError with a place comes of nonsense; what is accepted can be asked for."""
    try:
        selector = parse_selector(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"\Aat character \d+: "):
            parse_selector(text)
    else:
        assert parse_selector(str(selector)) == selector
        assert all(key_problem(requirement.key) is None for requirement in selector.requirements)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        (" \n", ""),
        ("a==b", "a=b"),
        ("b=1,a=1,b=1", "a=1,b=1"),
        ("a in (x)", "a=x"),
        ("a notin (x,x)", "a!=x"),
        ("a in (y, x,y)", "a in (x,y)"),
        ("a notin (b,)", "a notin (,b)"),
        (" ! gone , here ", "!gone,here"),
        ("a=,b!=", "a=,b!="),
        ("in in (in,notin)", "in in (in,notin)"),
        ("in", "in"),
        ("n>007", "n>007"),
        ("n < 1", "n<1"),
        (f"{'a' * 253}/{'b' * 63}={'c' * 63}", f"{'a' * 253}/{'b' * 63}={'c' * 63}"),
    ],
)
def test_a_selector_has_one_spelling(text, canonical):
    """Sorted, each requirement once, and the shortest operator that says it."""
    assert str(parse_selector(text)) == canonical


@pytest.mark.parametrize(
    ("value", "above", "below"), [("2", False, True), ("3", False, False), ("4", True, False)]
)
def test_a_bound_is_outside(value, above, below):
    """`>` and `<` are strict; what is no number is neither."""
    assert parse_selector("n>3").matches({"n": value}) is above
    assert parse_selector("n<3").matches({"n": value}) is below
    assert not parse_selector("n<3").matches({"n": "x"})


@pytest.mark.parametrize("labels", [{}, {"a": "other"}])
def test_what_is_excluded_need_not_be_there(labels):
    """`!=` and `notin` hold for an absent label; `=` and `in` don't, not even with an empty value."""
    assert parse_selector("a!=x").matches(labels)
    assert parse_selector("a notin (x,y)").matches(labels)
    assert parse_selector("a!=").matches({})
    assert not parse_selector("a=").matches({})
    assert not parse_selector("a in (,x)").matches({})


@pytest.mark.parametrize(
    ("text", "position", "remedy"),
    [
        ("=b", 1, "begins with a label's key"),
        ("a=b,", 5, "begins with a label's key"),
        ("a,,b", 3, "begins with a label's key"),
        ("!", 2, "begins with a label's key"),
        ("a b", 3, 'after the key "a" comes'),
        ("app = vllm tier", 12, "put a comma before it"),
        ("!a=b", 3, "put a comma before it"),
        ("a=(b)", 3, "a value was expected"),
        ("a in b", 6, "values in parentheses"),
        ("a in ()", 7, "at least one value"),
        ("a in (b", 8, "a ) after the last one"),
        ("a in (b c)", 9, "commas between the values"),
        ("x/y/z", 1, "before the / must be a domain"),
        ("/y", 1, "before the / must be a domain"),
        ("example.com/", 1, "up to 63 letters"),
        ("a" * 64, 1, "up to 63 letters"),
        ("b,-a", 3, "up to 63 letters"),
        (f"{'a' * 254}/b", 1, "up to 253"),
        ("a=b/c", 1, "is not a label's value"),
        (f"a={'b' * 64}", 1, "is not a label's value"),
        ("a in (b, -c)", 1, "is not a label's value"),
        ("a>b", 1, "must be a whole number"),
        ("a<9223372036854775808", 1, "must be a whole number"),
        ("a>-1", 1, "must be a whole number"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_a_remedy(text, position, remedy):
    """Characters count from 1, and the message says what to write."""
    with pytest.raises(ValueError, match="at character") as caught:
        parse_selector(text)
    assert str(caught.value).startswith(f"at character {position}: ")
    assert remedy in str(caught.value)


def test_a_selector_can_be_made_of_labels():
    """All of them must be there; wrong keys and values are refused by the same rules."""
    selector = Selector.from_labels({"b": "2", "a": ""})
    assert str(selector) == "a=,b=2"
    assert selector == parse_selector("b=2,a=")
    assert selector.requirements[0] == Requirement("a", Operator.IN, ("",))
    assert str(Selector.from_labels({})) == ""
    with pytest.raises(ValueError, match="is not a label's key"):
        Selector.from_labels({"a,b": "c"})
    with pytest.raises(ValueError, match="is not a label's value"):
        Selector.from_labels({"a": "b,c"})
