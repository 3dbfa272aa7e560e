"""The `schedulingProfiles` section: one profile of scorers, filters and a picker."""

from __future__ import annotations

import pytest

from epp.core.endpoint import EndpointSpec
from epp.picking.pickers import MaxScorePicker, RandomPicker, WeightedRandomPicker
from epp.picking.scorers import KvCacheUtilizationScorer, QueueScorer, RunningRequestsScorer

UNLISTED_PICKER = (
    "schedulingProfiles[{x}] references undefined plugin 'max-score-picker': "
    "add '- type: max-score-picker' to plugins"
)
PLUGINS = """
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: running-requests-size-scorer
- type: decode-filter
- type: prefix-cache-scorer
- type: utilization-detector
- type: concurrency-detector
"""


def test_scorers_have_the_profiles_weights(parsed):
    """Weights are the profile's, 1 if left out; a scorer may stand twice."""
    profile = parsed(
        PLUGINS
        + """
schedulingProfiles:
- name: mine
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 0.5}
  - {pluginRef: running-requests-size-scorer}
  - {pluginRef: queue-scorer, weight: -1e-1}
"""
    ).profile
    assert profile.name == "mine"
    assert profile.scorers == (
        QueueScorer(2.0),
        KvCacheUtilizationScorer(0.5),
        RunningRequestsScorer(1.0),
        QueueScorer(-0.1),
    )
    assert profile.picker == MaxScorePicker()


def test_without_profiles_everything_listed_is_one(parsed):
    """As upstream: all listed filters, scorers and pickers, in their order."""
    profile = parsed(PLUGINS + "- type: weighted-random-picker\n").profile
    assert profile.name == "default"
    assert profile.scorers == (QueueScorer(), KvCacheUtilizationScorer(), RunningRequestsScorer())
    assert profile.picker == WeightedRandomPicker()
    assert not profile.rule.admits(EndpointSpec("10.0.0.1:1", labels=(("llm-d.ai/role", "prefill"),)))


def test_a_profile_without_a_picker_gets_the_one_that_is_listed(parsed):
    """As upstream: the first picker that there is, or else max-score."""
    profiles = "schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer}]}]\n"
    assert (
        parsed(PLUGINS + "- type: weighted-random-picker\n" + profiles).profile.picker
        == WeightedRandomPicker()
    )
    assert parsed(PLUGINS + profiles).profile.picker == MaxScorePicker()


def test_the_random_picker_needs_no_scores(parsed):
    """Scorers of a random profile are not even asked."""
    profile = parsed(PLUGINS + "- type: random-picker\n").profile
    assert (profile.scorers, profile.picker) == ((), RandomPicker())


def test_only_the_profiles_filters_restrict_the_pool(parsed):
    """A filter that is listed but not in the profile excludes nobody."""
    prefill = EndpointSpec("10.0.0.1:1", labels=(("llm-d.ai/role", "prefill"),))
    without = parsed(PLUGINS + "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}]}]\n")
    within = parsed(PLUGINS + "schedulingProfiles: [{name: a, plugins: [{pluginRef: decode-filter}]}]\n")
    assert without.profile.rule.admits(prefill)
    assert not within.profile.rule.admits(prefill)


def test_ignored_scorers_are_noted_with_their_weight(parsed):
    """What the user weighed and we don't have is said, and what then decides."""
    config = parsed(
        PLUGINS
        + "featureGates: [flowControl]\n"
        + "schedulingProfiles: [{name: a, plugins: [{pluginRef: prefix-cache-scorer, weight: 2.5}]}]\n"
    )
    ignored, left = config.notes
    assert ignored == (
        "plugin 'prefix-cache-scorer' has no effect (its weight 2.5 is ignored): "
        "endpoints are not yet scored by the prefixes that they have cached"
    )
    assert (
        left == "profile 'a' is left without a scorer: the least loaded endpoint with room gets the request"
    )


@pytest.mark.parametrize(
    ("reference", "noted"),
    [("utilization-detector", False), ("concurrency-detector", True), ("fcfs-ordering-policy", True)],
)
def test_plugins_without_a_place_in_a_profile_are_noted(parsed, reference, noted):
    """The detector in force filters anyway; another detector, or a policy, does nothing in a profile."""
    config = parsed(
        PLUGINS
        + f"featureGates: [flowControl]\nschedulingProfiles: [{{name: a, plugins: [{{pluginRef: {reference}}}]}}]\n"
    )
    found = [
        note for note in config.notes if note.startswith(f"plugin '{reference}' has no effect in profile 'a'")
    ]
    assert bool(found) is noted


@pytest.mark.parametrize(
    ("profiles", "line", "field", "message"),
    [
        (
            "- plugins: []",
            12,
            "schedulingProfiles[0].name",
            "schedulingProfiles[0] is missing a name: give it one, such as default",
        ),
        (
            "- name: a\n  plugins:\n  - weight: 1",
            14,
            "schedulingProfiles[0].plugins[0].pluginRef",
            "schedulingProfiles[a].plugins[0] is missing a 'pluginRef': name one of plugins",
        ),
        (
            "- name: a\n  plugins:\n  - pluginRef: queu-scorer",
            14,
            "schedulingProfiles[0].plugins[0].pluginRef",
            "schedulingProfiles[a] references undefined plugin 'queu-scorer'; did you mean 'queue-scorer'?",
        ),
        (
            "- name: '{x}'\n  plugins:\n  - pluginRef: max-score-picker",
            14,
            "schedulingProfiles[0].plugins[0].pluginRef",
            UNLISTED_PICKER,
        ),
        (
            "- name: a\n  plugins:\n  - pluginRef: '???'",
            14,
            "schedulingProfiles[0].plugins[0].pluginRef",
            "schedulingProfiles[a] references undefined plugin '???': name one of plugins",
        ),
        (
            "- name: a\n  plugins:\n  - {pluginRef: queue-scorer, weight: heavy}",
            14,
            "schedulingProfiles[0].plugins[0].weight",
            'must be a number, got "heavy"',
        ),
        (
            "- name: a\n  plugins:\n  - {pluginRef: queue-scorer, weight: 1e12}",
            14,
            "schedulingProfiles[0].plugins[0].weight",
            "must be at least -1000000 and at most 1000000, got 1e12",
        ),
        (
            "- name: a\n- name: b",
            13,
            "schedulingProfiles[1]",
            "no profile handler configured: one endpoint is chosen for each request, so keep one profile",
        ),
    ],
)
def test_wrong_profiles(problems, profiles, line, field, message):
    """Each fault in upstream's words, with its line and a remedy."""
    (problem,) = problems(PLUGINS.lstrip() + "schedulingProfiles:\n" + profiles + "\n")
    assert problem == (line, field, message)


def test_two_profiles_of_one_name(problems):
    """Both faults are reported: the name, and that there is more than one profile."""
    found = problems("schedulingProfiles:\n- name: a\n- name: a\n")
    assert {problem.message for problem in found} == {
        "schedulingProfiles[1] has duplicate name 'a': give it another",
        "no profile handler configured: one endpoint is chosen for each request, so keep one profile",
    }


def test_the_single_profile_handler_handles_a_single_profile(parsed, problems):
    """Upstream's only handler for one profile is accepted, and refuses two in upstream's words."""
    handler = "plugins: [{type: single-profile-handler}]\n"
    assert parsed(handler + "schedulingProfiles: [{name: a}]\n").profile.name == "a"
    (problem,) = problems(handler + "schedulingProfiles: [{name: a}, {name: b}]\n")
    assert problem.message.startswith("SingleProfileHandler cannot support multiple scheduling profiles: ")


def test_two_handlers(problems):
    """One handler too many is named."""
    (problem,) = problems(
        "plugins: [{type: single-profile-handler}, {type: single-profile-handler, name: b}]\n"
    )
    assert problem.message == (
        "multiple profile handlers found ('single-profile-handler','b'); only one is allowed: remove the rest"
    )


@pytest.mark.parametrize(
    "profiles",
    [
        "",
        "schedulingProfiles: [{name: a, plugins: [{pluginRef: max-score-picker}, {pluginRef: random-picker}]}]\n",
    ],
)
def test_two_pickers(problems, profiles):
    """A second picker is refused in upstream's words, whether the profile is written or made of what is listed."""
    (problem,) = problems("plugins: [{type: max-score-picker}, {type: random-picker}]\n" + profiles)
    assert problem.message == (
        "failed to set 'random-picker' as picker, already have a registered picker plugin 'max-score-picker': "
        "keep one of them in the profile"
    )
