"""How many series of requests there may be."""

from __future__ import annotations

from epp.observe.labels import OTHER, PriorityNames, RequestLabels
from epp.observe.table import IDLE_S, SERIES_PER_LABEL, SeriesTable


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
    assert book.use("first").key.fairness_id == OTHER


def test_an_id_in_use_keeps_its_place():
    """A request that is queued or running for hours holds its series, which may go an idle time after it."""
    book = Book(label_limit=1)
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
    search = book.table._free_name
    monkeypatch.setattr(
        book.table, "_free_name", lambda names, now: searches.append(now) or search(names, now)
    )
    for number in range(1000):
        book.now += 0.1
        book.use(f"id-{number}")
    assert len(searches) == 1


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
