"""How an estimator is made from options, and how its label and identity name them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from plug_ins import GOOD, HEAD, one_sentence, plugin

from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.estimation.options import canonical, get, identity, label, options

pytestmark = pytest.mark.usefixtures("registered")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("locl", {}, "estimator 'locl' is unknown. Did you mean 'local'?"),
        ("zzz", {}, "estimator 'zzz' is unknown. Expected one of: activity-perturbation, antithetic, arm, "),
        ("score", {"sample": 2}, "estimator 'score' has no option 'sample'. Did you mean 'samples'?"),
        ("score", {"zzz": 2}, "estimator 'score' has no option 'zzz'. Expected one of: baseline, decay, pilot, "),
        ("naive", {"samples": 2}, "estimator 'naive' has no option 'samples'. It has none."),
        ("score", {"samples": "2"}, "estimator 'score', option samples: input should be a valid integer, not '2'."),
        ("score", {"samples": 2.0}, "option samples: input should be a valid integer, not 2.0."),
        ("score", {"samples": True}, "option samples: input should be a valid integer, not True."),
        ("score", {"samples": None}, "option samples: input should be a valid integer, not None."),
        ("score", {"baseline": "loo"}, "option baseline: input should be 'none', 'moving-average', "),
        ("score", {"samples": 0}, "score: baseline 'none' needs samples ≥ 1, not 0."),
        ("score", {"baseline": "leave-one-out"}, "score: baseline 'leave-one-out' needs samples ≥ 2, not 1."),
        ("per-example", {"chunk": 0}, "per-example: chunk must be at least 1 example, not 0."),
        ("samples", {"samples": "2"}, "estimator 'samples', option samples: input should be a valid integer, not '2'."),
        ("samples", {"off": "local"}, "estimator 'samples' has no option 'off'. Did you mean 'of'?"),
        ("samples", {"of": "locl"}, "'samples', option of: estimator 'locl' is unknown. Did you mean 'local'?"),
        ("samples", {"of": {"name": "score", "options": {"sample": 2}}},
         "estimator 'samples', option of: estimator 'score' has no option 'sample'. Did you mean 'samples'?"),
        ("samples", {"of": {"name": "antithetic", "options": {"of": "nave"}}},
         "estimator 'samples', option of: estimator 'antithetic', option of: estimator 'nave' is unknown. "
         "Did you mean 'naive'?"),
        ("samples", {"of": {"name": "score", "options": {"samples": 0}}},
         "estimator 'samples', option of: score: baseline 'none' needs samples ≥ 1, not 0."),
        ("antithetic", {"of": {"name": "antithetic"}},
         "antithetic: estimator 'antithetic' is in antithetic pairs already, and the pair of a pair is that pair"),
        ("samples", {"of": 3}, "estimator 'samples', option of: expected an estimator's name, or a mapping with the "
         "keys name and options, not 3."),
        ("samples", {"of": None}, "option of: expected an estimator's name, or a mapping"),
        ("samples", {"of": ["local"]}, "option of: expected an estimator's name, or a mapping"),
        ("samples", {"of": {"options": {}}}, "option of: expected an estimator's name, or a mapping"),
        ("samples", {"of": {"name": "local", "option": {}}}, "of: unknown key 'option'. Did you mean 'options'?"),
        ("samples", {"of": {"name": "score", "options": 2}}, "option of: expected a mapping under options, not 2."),
    ],
)  # fmt: skip
def test_bad_names_and_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        get(name, **options)
    one_sentence(caught)


def test_a_plug_in_s_own_checks_of_its_options_are_input_errors(tmp_path: Path) -> None:
    check = "    def __post_init__(self):\n        if self.width > 9:\n            raise ValueError('too wide')\n"
    registry.load_plugin(plugin(tmp_path, HEAD + GOOD + "\n" + check))
    assert get("mine", width=9) is not None
    with pytest.raises(InputError, match=r"^estimator 'mine': too wide") as caught:
        get("mine", width=10)
    one_sentence(caught)


def test_options_and_labels_name_what_is_not_default(tmp_path: Path) -> None:
    score = get("score", samples=4, baseline="leave-one-out")
    assert options(score) == {"samples": 4, "baseline": "leave-one-out"}
    assert label(score) == "score(baseline=leave-one-out, samples=4)"
    assert label(get("score", samples=1)) == "score"
    assert options(get("local")) == {}
    made = "width: tuple[int, ...] = field(default_factory=lambda: (1, 2))"
    registry.load_plugin(plugin(tmp_path, HEAD + GOOD.replace("width: int = 3", made)))
    assert label(get("mine")) == "mine"
    assert label(get("mine", width=(1, 2))) == "mine"
    assert label(get("mine", width=(3,))) == "mine(width=(3,))"


def test_a_wrapped_estimator_is_always_named() -> None:
    """By default, too: what is wrapped by default may change."""
    inner = {"name": "score", "options": {"samples": 4}}
    labels = {
        label(e): options(e)
        for e in [
            get("samples"),
            get("samples", of="local", samples=4),
            get("samples", of=get("score", samples=4)),
            get("samples", of=get("antithetic", of="local"), samples=2),
        ]
    }
    assert labels == {
        "samples(naive)": {"of": {"name": "naive", "options": {}}},
        "samples(local, samples=4)": {"of": {"name": "local", "options": {}}, "samples": 4},
        "samples(score(samples=4))": {"of": inner},
        "samples(antithetic(local), samples=2)": {
            "of": {"name": "antithetic", "options": {"of": {"name": "local", "options": {}}}},
            "samples": 2,
        },
    }
    assert canonical(options(get("samples", of="local", samples=4))) == (
        '{"of":{"name":"local","options":{}},"samples":4}'
    )


def test_an_inner_estimator_is_given_in_any_of_its_forms() -> None:
    inner = get("score", samples=4)
    spec = {"name": "score", "options": {"samples": 4}}
    assert get("samples", of=inner) == get("samples", of=spec)
    assert get("samples", of="local") == get("samples", of={"name": "local"})
    for estimator in (get("samples", of=inner, samples=2), get("antithetic")):
        again = json.loads(canonical(options(estimator)))
        assert get(estimator.declaration.name, **again) == estimator


def test_canonical_text_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": [1, 2.5, None]}) == '{"a":[1,2.5,null],"b":1}'
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({}) == "{}"


def test_a_plug_in_that_has_changed_has_another_identity(tmp_path: Path) -> None:
    """Its stored figures are not taken for those of the changed file."""
    file = plugin(tmp_path, HEAD + GOOD)
    registry.load_plugin(file)
    before = identity(get("mine"))
    assert registry.load_plugin(file) == ["mine"]
    assert identity(get("mine")) == before
    file.write_text(file.read_text() + "\n# changed\n")
    registry.load_plugin(file)
    assert identity(get("mine")) != before
    assert identity(get("local")) == ["local", {}, "1"]


def test_the_identity_of_a_wrapper_covers_what_it_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options, its version, and the file that it comes from."""
    file = plugin(tmp_path, HEAD + GOOD)
    registry.load_plugin(file)

    def named(**options: Any) -> str:
        inner = get("antithetic", of=get("mine", **options))
        return canonical(identity(get("samples", of=inner, samples=2)))

    before = named()
    assert named() == before
    assert named(width=4) != before
    declared = dataclasses.replace(registry.find("mine").declared, version="2")
    with monkeypatch.context() as changed:
        changed.setattr(registry.find("mine"), "declared", declared)
        assert named() != before
    assert named() == before
    file.write_text(file.read_text() + "\n# changed\n")
    registry.load_plugin(file)
    assert named() != before
