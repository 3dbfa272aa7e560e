"""How many series of requests there may be."""

from __future__ import annotations

import random
from collections import Counter

from epp.observe.labels import OTHER, PriorityNames, RequestLabels
from epp.observe.places import IDLE_S, LOOK_S, REMEMBERED_PER_PLACE, Places
from epp.observe.table import SERIES_PER_LABEL, SeriesTable


class Book:
    """A table, and a way to use it as requests do."""

    def __init__(self, label_limit=10):
        self.now = 0.0
        self.table = SeriesTable(label_limit=label_limit, priorities=PriorityNames(label_limit))

    def use(self, fairness_id="alice", model="llama", priority=0, target=None):
        """One request comes and ends at once."""
        series = self.table.find(RequestLabels(model, target or model, fairness_id, priority), self.now)
        series.used_s = self.now
        series.dispatched += 1
        return series

    def fairness_ids(self):
        """Those that are shown."""
        return {series.key.fairness_id for series in self.table}

    def models(self):
        """Those that are shown."""
        return {series.key.model for series in self.table}


def test_the_same_labels_are_the_same_series():
    """And different ones aren't."""
    book = Book()
    assert book.use() is book.use()
    assert book.use("bob") is not book.use()
    assert book.use(priority=1) is not book.use()
    assert len(book.table) == 3


def test_ten_thousand_ids_stay_within_the_limit():
    """A flood of new ids ends up under one name, whoever was there before keeps his own, and nothing is lost."""
    book = Book(label_limit=100)
    book.use("early")
    for number in range(10_000):
        book.now += 0.01
        book.use(f"id-{number}")
    assert len(book.fairness_ids()) == 101
    assert {"early", OTHER} <= book.fairness_ids()
    assert sum(series.dispatched for series in book.table) == 10_001
    assert book.table.overflows == {"fairness_id": 10_001 - 100, "model_name": 0}


def test_ten_thousand_models_stay_within_the_limit():
    """The same for models, asked for and sent to together."""
    book = Book(label_limit=100)
    for number in range(10_000):
        book.use(model=f"model-{number}", target=f"target-{number}")
    shown = book.models() | {series.key.target_model for series in book.table}
    assert len(shown) == 101
    assert book.table.overflows["model_name"] == 10_000 - 50


def test_combinations_stay_within_their_limit():
    """Few models and few ids can't make many series either: beyond it both names are given up."""
    book = Book(label_limit=10)
    for number in range(100):
        book.use(f"id-{number % 10}", model=f"model-{number // 10}")
    assert len(book.table) == SERIES_PER_LABEL * 10 + 1
    assert sum(series.dispatched for series in book.table) == 100
    assert {OTHER} <= book.models()


def test_what_clients_send_never_grows_the_memory():
    """Neither folded nor altered labels are remembered as they came."""
    book = Book(label_limit=5)
    for number in range(1000):
        book.use(f"id-{number}", model=f"m\n{number}", priority=number)
    assert len(book.table._by_labels) <= 5


def test_an_idle_id_gives_its_place_up():
    """Whoever has been idle longest goes first, and not before the idle time is over."""
    book = Book(label_limit=2)
    book.use("first")
    book.now = 10
    book.use("second")
    book.now = IDLE_S - 1
    assert book.use("early").key.fairness_id == OTHER
    book.now = IDLE_S
    assert book.use("third").key.fairness_id == "third"
    assert book.fairness_ids() == {"second", "third", OTHER}
    assert book.use("too soon").key.fairness_id == OTHER
    book.now = IDLE_S + 10
    assert book.use("fourth").key.fairness_id == "fourth"
    assert book.fairness_ids() == {"third", "fourth", OTHER}
    assert book.use("fifth").key.fairness_id == OTHER


def test_an_id_in_use_keeps_its_place():
    """A request that is queued or running for hours holds its series, which may go an idle time after it."""
    book = Book(label_limit=1)
    book.use("busy")
    series = book.use("busy")
    series.running = 1
    book.now = 100 * IDLE_S
    assert book.use("new").key.fairness_id == OTHER
    series.running, series.used_s = 0, book.now
    book.now += IDLE_S - 1
    assert book.use("new").key.fairness_id == OTHER
    book.now += 1
    assert book.use("new").key.fairness_id == "new"
    assert book.fairness_ids() == {"new", OTHER}


def test_an_idle_combination_gives_its_place_up():
    """Also where names have room and only their combinations don't."""
    book = Book(label_limit=2)
    for number in range(4):
        book.now = number
        book.use(f"id-{number % 2}", model=f"model-{number // 2}")
    book.now = IDLE_S
    book.use("id-0", model="model-0", priority=1)
    assert {(series.key.fairness_id, series.key.model, series.key.priority) for series in book.table} == {
        ("id-1", "model-0", "0"),
        ("id-0", "model-1", "0"),
        ("id-1", "model-1", "0"),
        ("id-0", "model-0", "1"),
    }


def test_a_combination_finds_room_as_soon_as_there_is_some():
    """Having looked in vain before doesn't keep it waiting longer than the idle time."""
    book = Book(label_limit=2)
    for number in range(4):
        book.now = number
        book.use(f"id-{number % 2}", model=f"model-{number // 2}")
    book.now = IDLE_S - 1
    assert book.use("id-0", model="model-0", priority=1).key.model == OTHER
    book.now = IDLE_S
    assert book.use("id-0", model="model-0", priority=1).key.model == "model-0"


def test_a_flood_of_new_ids_does_not_search_each_time(monkeypatch):
    """When everybody was found in use, nobody is searched before somebody can be idle."""
    book = Book(label_limit=3)
    searches = []
    search = Places._idlest
    monkeypatch.setattr(Places, "_idlest", lambda places: searches.append(book.now) or search(places))
    for number in range(1000):
        book.now += 0.1
        book.use(f"id-{number}")
    assert len(searches) == 1


def test_after_ten_thousand_minted_ids_a_tenant_who_stays_has_a_label():
    """Its first request finds no room; from the second on it is itself, and those who mint push nobody out."""
    book = Book(label_limit=100)
    for _ in range(2):
        book.use("early")
    for number in range(10_000):
        book.now += 0.01
        book.use(f"id-{number}")
    assert len(book.table) <= SERIES_PER_LABEL * 100 + 1
    assert book.use("tenant").key.fairness_id == OTHER
    for number in range(10_000, 10_700):
        book.now += 0.01
        book.use(f"id-{number}")
    assert book.use("tenant").key.fairness_id == "tenant"
    for number in range(10_700, 20_000):
        book.now += 0.01
        book.use(f"id-{number}")
    assert {"early", "tenant", OTHER} <= book.fairness_ids()
    assert len(book.fairness_ids()) == 101
    assert len(book.table) == len(book.table.tallies) == 101


def test_ids_that_are_used_twice_push_out_one_shot_ids_and_not_each_other():
    """An id for every conversation is no attack, but it makes no series without end either."""
    book = Book(label_limit=10)
    for number in range(10):
        book.use(f"single-{number}")
    came = []
    for number in range(1000):
        book.now += 0.1
        book.use(f"twice-{number}")
        came.append(book.use(f"twice-{number}").key.fairness_id)
    assert [each for each in came if each != OTHER] == [f"twice-{number}" for number in range(10)]
    assert book.fairness_ids() == {OTHER, *(f"twice-{number}" for number in range(10))}


def test_who_waits_or_runs_is_never_pushed_out():
    """Also not by somebody who came back, and also not with a single request."""
    book = Book(label_limit=1)
    series = book.use("slow")
    series.running = 1
    for _ in range(3):
        assert book.use("new").key.fairness_id == OTHER
    series.running = 0
    book.now += LOOK_S
    assert book.use("new").key.fairness_id == "new"


def test_who_gave_a_place_up_is_remembered_like_one_who_was_turned_away():
    """A tenant that was quiet for long gets a label again at once, in the place of an id that was used once."""
    book = Book(label_limit=1)
    book.use("quiet")
    book.now = IDLE_S
    assert book.use("single").key.fairness_id == "single"
    assert book.use("quiet").key.fairness_id == "quiet"
    assert book.use("single").key.fairness_id == OTHER


def test_new_ids_are_counted_once_each():
    """Whether they find a place or not, and however often and for how many models they come."""
    book = Book(label_limit=2)
    for _ in range(3):
        for number in range(6):
            book.use(f"id-{number}", model=f"model-{number % 2}")
            book.use(f"id-{number}", priority=1)
    book.use("")
    assert book.table.new_fairness_ids == 6
    for number in range(6, 100):
        book.use(f"id-{number}")
    assert book.table.new_fairness_ids == 100


def test_who_was_turned_away_is_not_remembered_for_ever():
    """The memory for them is bounded, whatever clients send."""
    book = Book(label_limit=2)
    for number in range(1000):
        book.use(f"id-{number}")
    assert len(book.table._fairness_ids._turned_away) == 2 * REMEMBERED_PER_PLACE


def test_a_tenants_tokens_are_summed_over_models_and_never_fall():
    """One of its models is freed, and its sum stays; it starts again from 0 only after the tenant was gone."""
    book = Book(label_limit=2)
    for _ in range(2):
        book.use("alice", model="a").tally.tokens += 10
        book.use("alice", model="b").tally.tokens += 1
    (tally,) = book.table.tallies
    assert (tally.tokens, tally.series) == (22, 2)
    book.now = IDLE_S
    book.use("alice", model="b")
    book.use("alice", model="c")
    assert book.models() == {"b", "c"}
    assert book.table.tallies == (tally,)
    assert (tally.tokens, tally.series) == (22, 2)
    book.now += IDLE_S
    book.use("bob", model="b")
    book.use("carol", model="b")
    assert book.fairness_ids() == {"bob", "carol"}
    book.now += IDLE_S
    again = book.use("alice", model="b")
    assert (again.tally.tokens, again.dispatched) == (0, 1)


def test_counters_of_a_series_that_comes_back_are_what_prometheus_takes_for_a_restart():
    """Whatever is scraped and whenever: increases, as Prometheus works them out, never exceed what happened."""
    book = Book(label_limit=3)
    rng = random.Random(5)
    happened, increases, last = Counter(), Counter(), {}
    for _ in range(3000):
        book.now += rng.choice((0.1, 1.0, IDLE_S / 3))
        fairness_id = f"id-{rng.randrange(6)}"
        series = book.use(fairness_id, model=f"model-{rng.randrange(2)}")
        series.tally.tokens += 10
        happened[series.key.fairness_id] += 10
        shown = {tally.text: tally.tokens for tally in book.table.tallies}
        for text, tokens in shown.items():
            before = last.get(text, 0)
            increases[text] += tokens if tokens < before else tokens - before
        last |= shown
    for fairness_id, tokens in happened.items():
        text = f'fairness_id="{fairness_id}",priority="0"'
        assert 0 < increases[text] <= tokens


def test_a_freed_series_goes_on_counting_for_its_model():
    """Sums over a model never fall while the model is known, and are forgotten with it."""
    book = Book(label_limit=1)
    for number in range(5):
        book.use(f"id-{number}").failed("BadRequest")
        book.now += IDLE_S
    assert [(freed.dispatched, freed.errors) for freed in book.table.freed] == [(4, {"BadRequest": 4})]
    book.use("last", model="other model")
    assert book.table.freed == ()


def test_unknown_names_take_no_place():
    """A request without a model is no model, so it never pushes one out."""
    book = Book(label_limit=1)
    book.use(model="")
    assert book.use(model="llama").key.model == "llama"


def test_a_limit_of_nothing_folds_everything():
    """The smallest limit is still a working one."""
    book = Book(label_limit=0)
    assert book.use(priority=3).key == (OTHER, OTHER, OTHER, OTHER)
    assert len(book.table) == 1
