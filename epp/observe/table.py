"""All series of requests: which combinations of labels there are, and for how long.

- There are never more than `label_limit` models, as many fairness ids, and `SERIES_PER_LABEL` times as many
  combinations of the two and a priority. Whoever finds no room is counted under `other`.
- Room comes back: `places` says which value of a label has to make room for a newcomer. Nothing is freed while a
  request is queued or running.
- What a freed series had counted goes on counting in sums over its model, as long as that model is known. Should the
  series come back, it starts from 0, which Prometheus takes for a restart: no increase is lost or counted twice.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from epp.observe.labels import OTHER, PriorityNames, RequestLabels, clean
from epp.observe.places import IDLE_S, Places
from epp.observe.series import FlowTally, RequestSeries, SeriesKey

if TYPE_CHECKING:
    from collections.abc import Iterator

SERIES_PER_LABEL = 2


class SeriesTable:
    """All series of requests, by labels."""

    def __init__(self, *, label_limit: int, priorities: PriorityNames) -> None:
        self._priorities = priorities
        self._models = Places(label_limit)
        self._fairness_ids = Places(label_limit)
        self._limit = SERIES_PER_LABEL * label_limit
        self._retry_s = -inf
        self._series: dict[SeriesKey, RequestSeries] = {}
        self._by_labels: dict[RequestLabels, RequestSeries] = {}
        self._tallies: dict[tuple[str, str], FlowTally] = {}
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
    def tallies(self) -> tuple[FlowTally, ...]:
        """What each tenant used in each band."""
        return tuple(self._tallies.values())

    @property
    def freed(self) -> tuple[RequestSeries, ...]:
        """What freed series of known models had counted, summed over fairness ids."""
        return tuple(self._freed.values())

    @property
    def overflows(self) -> dict[str, int]:
        """Requests whose label value is shown as `OTHER`, by label."""
        return {"fairness_id": self._fairness_ids.overflows, "model_name": self._models.overflows}

    @property
    def new_fairness_ids(self) -> int:
        """How many there have been that weren't known, counting those anew that were forgotten."""
        return self._fairness_ids.newcomers

    def find(self, labels: RequestLabels, now: float) -> RequestSeries:
        """The series that a request with these labels is counted in."""
        series = self._by_labels.get(labels)
        if series is None:
            series = self._find_or_add(labels, now)
        series.requests += 1
        return series

    # ------------------------------------------------------------------------ coming

    def _find_or_add(self, labels: RequestLabels, now: float) -> RequestSeries:
        key = self._shown(labels, now)
        series = self._series.get(key)
        if series is None and not self._has_room(key, now):
            key = SeriesKey(OTHER, OTHER, OTHER, key.priority)
            series = self._series.get(key)
        if series is None:
            series = self._add(key)
        if self._freed_lately:
            # Only now: the newcomer may want the model of the series that made room for it.
            self._forget_models()
        self._models.overflows += key.model == OTHER != labels.model
        self._fairness_ids.overflows += key.fairness_id == OTHER != labels.fairness_id
        if key == (*labels[:3], str(labels.priority)):
            # Only what is shown as it came is remembered, so what clients send never makes this table grow.
            self._by_labels[labels] = series
        return series

    def _add(self, key: SeriesKey) -> RequestSeries:
        of_flow = (key.fairness_id, key.priority)
        tally = self._tallies.get(of_flow)
        if tally is None:
            tally = self._tallies[of_flow] = FlowTally(*of_flow)
        tally.series += 1
        series = self._series[key] = RequestSeries(key, tally)
        self._models.take(key.model, series)
        self._models.take(key.target_model, series)
        self._fairness_ids.take(key.fairness_id, series)
        return series

    def _shown(self, labels: RequestLabels, now: float) -> SeriesKey:
        model, target_model, fairness_id = map(clean, labels[:3])
        self._fairness_ids.note(fairness_id)
        if not self._admits(self._models, now, model, target_model):
            model = target_model = OTHER
        if not self._admits(self._fairness_ids, now, fairness_id):
            fairness_id = OTHER
        return SeriesKey(model, target_model, fairness_id, self._priorities.name(labels.priority))

    def _admits(self, places: Places, now: float, *values: str) -> bool:
        while not places.has_room_for(*values):
            leaving = places.who_makes_room(now, *values)
            if leaving is None:
                places.turn_away(*values)
                return False
            for series in places.series_of(leaving):
                self._free(series)
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

    def _free(self, series: RequestSeries) -> None:
        key = series.key
        del self._series[key]
        if key.priority != OTHER:
            self._by_labels.pop(RequestLabels(*key[:3], int(key.priority)), None)
        self._fairness_ids.leave(key.fairness_id, series)
        self._models.leave(key.model, series)
        self._models.leave(key.target_model, series)
        series.tally.series -= 1
        if not series.tally.series:
            del self._tallies[key.fairness_id, key.priority]
        kept = key._replace(fairness_id="")
        if kept not in self._freed:
            self._freed[kept] = RequestSeries(kept, FlowTally("", key.priority))
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
