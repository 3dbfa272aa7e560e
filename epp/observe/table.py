"""All series of requests: which combinations of labels there are, and for how long.

- There are never more than `label_limit` models, as many fairness ids, and `SERIES_PER_LABEL` times as many
  combinations of the two and a priority. Whoever finds no room is counted under `other`.
- Room comes back: what has been idle longest, `IDLE_S` at least and with no request queued or running, gives its
  place to a newcomer. Sooner would let one client, with a new id for every request, push everybody's series out.
- What a freed series had counted goes on counting in sums over its model, as long as that model is known.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from epp.observe.labels import OTHER, PriorityNames, RequestLabels, clean
from epp.observe.series import RequestSeries, SeriesKey

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_S = 600.0
"""How long a series keeps its place after its last request ended."""
SERIES_PER_LABEL = 2

_PLACELESS = frozenset({"", OTHER})


class _Names:
    """The values of one label in use, and how many series use each."""

    __slots__ = ("limit", "overflows", "retry_s", "uses")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.uses: dict[str, int] = {}
        self.overflows = 0
        """Requests counted under `OTHER`."""
        self.retry_s = -inf
        """No place comes free before."""

    def has_room_for(self, *values: str) -> bool:
        new = {value for value in values if not self.knows(value)}
        return not new or len(self.uses) + len(new) <= self.limit

    def knows(self, value: str) -> bool:
        """Whether it has its place. Neither nothing nor `OTHER` takes one up."""
        return value in self.uses or value in _PLACELESS

    def take(self, value: str) -> None:
        if value not in _PLACELESS:
            self.uses[value] = self.uses.get(value, 0) + 1

    def leave(self, value: str) -> None:
        uses = self.uses.get(value, 0)
        if uses > 1:
            self.uses[value] = uses - 1
        elif uses:
            del self.uses[value]


class SeriesTable:
    """All series of requests, by labels."""

    def __init__(self, *, label_limit: int, priorities: PriorityNames) -> None:
        self._priorities = priorities
        self._models = _Names(label_limit)
        self._fairness_ids = _Names(label_limit)
        self._limit = SERIES_PER_LABEL * label_limit
        self._retry_s = -inf
        self._series: dict[SeriesKey, RequestSeries] = {}
        self._by_labels: dict[RequestLabels, RequestSeries] = {}
        self._freed: dict[SeriesKey, RequestSeries] = {}
        self._freed_lately = False

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[RequestSeries]:
        """Those that are shown."""
        return iter(self._series.values())

    def __contains__(self, key: SeriesKey) -> bool:
        return key in self._series

    @property
    def freed(self) -> tuple[RequestSeries, ...]:
        """What freed series of known models had counted, summed over fairness ids."""
        return tuple(self._freed.values())

    @property
    def overflows(self) -> dict[str, int]:
        """Requests whose label value is shown as `OTHER`, by label."""
        return {"fairness_id": self._fairness_ids.overflows, "model_name": self._models.overflows}

    def find(self, labels: RequestLabels, now: float) -> RequestSeries:
        """The series that a request with these labels is counted in."""
        series = self._by_labels.get(labels)
        return self._find_or_add(labels, now) if series is None else series

    # ------------------------------------------------------------------------ coming

    def _find_or_add(self, labels: RequestLabels, now: float) -> RequestSeries:
        key = self._shown(labels, now)
        series = self._series.get(key)
        if series is None and not self._has_room(key, now):
            key = SeriesKey(OTHER, OTHER, OTHER, key.priority)
            series = self._series.get(key)
        if series is None:
            series = self._series[key] = RequestSeries(key)
            self._models.take(key.model)
            self._models.take(key.target_model)
            self._fairness_ids.take(key.fairness_id)
        if self._freed_lately:
            # Only now: the newcomer may want the model of the series that made room for it.
            self._forget_models()
        self._models.overflows += key.model == OTHER != labels.model
        self._fairness_ids.overflows += key.fairness_id == OTHER != labels.fairness_id
        if key == (*labels[:3], str(labels.priority)):
            # Only what is shown as it came is remembered, so what clients send never makes this table grow.
            self._by_labels[labels] = series
        return series

    def _shown(self, labels: RequestLabels, now: float) -> SeriesKey:
        model, target_model, fairness_id = map(clean, labels[:3])
        if not self._admits(self._models, now, model, target_model):
            model = target_model = OTHER
        if not self._admits(self._fairness_ids, now, fairness_id):
            fairness_id = OTHER
        return SeriesKey(model, target_model, fairness_id, self._priorities.name(labels.priority))

    def _admits(self, names: _Names, now: float, *values: str) -> bool:
        while not names.has_room_for(*values):
            if now < names.retry_s or not self._free_name(names, now):
                return False
        return True

    def _has_room(self, key: SeriesKey, now: float) -> bool:
        if len(self._series) < self._limit or (key.model == OTHER and key.fairness_id == OTHER):
            return True
        if now < self._retry_s:
            return False
        idlest = min(self._series.values(), key=_last_use_s)
        if now - idlest.last_use_s < IDLE_S:
            self._retry_s = min(idlest.last_use_s, now) + IDLE_S
            return False
        self._free(idlest)
        return True

    # ------------------------------------------------------------------------- going

    def _free_name(self, names: _Names, now: float) -> bool:
        """Free the label value that has been idle longest, with its series. False if all are in use."""
        last_use_s = dict.fromkeys(names.uses, -inf)
        if not last_use_s:
            return False
        for series in self._series.values():
            for value in self._values(names, series):
                if value in last_use_s:
                    last_use_s[value] = max(last_use_s[value], series.last_use_s)
        idlest = min(last_use_s, key=last_use_s.__getitem__)
        if now - last_use_s[idlest] < IDLE_S:
            names.retry_s = min(last_use_s[idlest], now) + IDLE_S
            return False
        for series in tuple(self._series.values()):
            if idlest in self._values(names, series):
                self._free(series)
        return True

    def _values(self, names: _Names, series: RequestSeries) -> tuple[str, ...]:
        key = series.key
        return (key.model, key.target_model) if names is self._models else (key.fairness_id,)

    def _free(self, series: RequestSeries) -> None:
        key = series.key
        del self._series[key]
        if key.priority != OTHER:
            self._by_labels.pop(RequestLabels(*key[:3], int(key.priority)), None)
        self._fairness_ids.leave(key.fairness_id)
        self._models.leave(key.model)
        self._models.leave(key.target_model)
        kept = key._replace(fairness_id="")
        if kept not in self._freed:
            self._freed[kept] = RequestSeries(kept)
        self._freed[kept].absorb(series)
        self._freed_lately = True

    def _forget_models(self) -> None:
        """What was counted for models that nobody has a series for any more goes."""
        for key in tuple(self._freed):
            if not (self._models.knows(key.model) and self._models.knows(key.target_model)):
                del self._freed[key]
        self._freed_lately = False


def _last_use_s(series: RequestSeries) -> float:
    return series.last_use_s
