"""The parameters of filters that select endpoints by their pods' labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.picking.labels import LabelRequirement, LabelRule, Operator

if TYPE_CHECKING:
    from epp.config.fields import Fields

_OPERATORS = {
    operator.value: operator
    for operator in (Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST)
}
_WITH_VALUES = {Operator.IN, Operator.NOT_IN}


def read_label_selector(fields: Fields) -> LabelRule:
    """A Kubernetes LabelSelector; an empty one selects every endpoint."""
    requirements = [
        LabelRequirement(key, Operator.IN, frozenset((value,)))
        for key, value in fields.text_map("matchLabels").items()
    ]
    for expression in fields.sections("matchExpressions"):
        requirement = _expression(expression)
        expression.close()
        if requirement is not None:
            requirements.append(requirement)
    return LabelRule(tuple(requirements))


def _expression(fields: Fields) -> LabelRequirement | None:
    fields.require("key", "is required: the name of the label")
    names = ", ".join(_OPERATORS)
    fields.require("operator", f"is required: one of {names}")
    key, name = fields.text("key"), fields.text("operator")
    values = frozenset(item.text for item in fields.texts("values"))
    operator = _OPERATORS.get(name)
    if operator is None:
        if name:
            fields.fail("operator", f"must be one of {names}, got {name!r}")
        return None
    if operator in _WITH_VALUES and not values:
        fields.fail("values", f"must have at least one value for the operator {name}")
    if operator not in _WITH_VALUES and values:
        fields.fail("values", f"must be left out for the operator {name}")
    return LabelRequirement(key, operator, values)


def read_valid_values(fields: Fields) -> LabelRule:
    """The parameters of upstream's older `by-label`: a label, its valid values, and whether it may be absent."""
    fields.require("label", "'label' must be specified: the name of the label to look at")
    label = fields.text("label")
    values = frozenset(item.text for item in fields.texts("validValues"))
    may_be_absent = fields.flag("allowsNoLabel", default=False)
    if not values and not may_be_absent:
        fields.reject("either 'validValues' must be non-empty or 'allowsNoLabel' must be true")
    return LabelRule(
        (LabelRequirement(label, Operator.IN_OR_ABSENT if may_be_absent else Operator.IN, values),)
    )
