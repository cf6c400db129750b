"""A run on a network with an embedding, a recurrent and a frozen layer: what is recorded and shown."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import vdbench
from reports.document import Bullets, Table
from reports.results.load import load
from reports.sections.method import noise_table
from vdbench import InputError
from vdbench.runner.finished import Finished


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6, padding_idx=0)
        self.rnn = nn.LSTM(6, 5, batch_first=True)
        self.norm = nn.LayerNorm(5)
        self.mix = nn.Linear(5, 5).requires_grad_(False)
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.rnn(self.words(x))[0][:, -1])
        out: Tensor = self.out(torch.tanh(self.mix(h)))
        return out


def tagger() -> vdbench.Problem:
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(1, 20, (60, 4), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return vdbench.noisy(Tagger(), (words, torch.arange(60) % 3))


SUITE: dict[str, Any] = {
    "name": "own-model",
    "threads": 1,
    "problems": [{"name": "tagger", "factory": "vdbench_own_model:tagger"}],
    "batch_sizes": [4],
    "estimators": ["naive", "local", "grouped", "per-example", "moment-matching"],
    "baseline": "naive",
    "measures": {"variance": {"first_units": 16, "max_units": 16, "precision": 0.5}},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("own-model")
    module = types.ModuleType("vdbench_own_model")
    module.tagger = tagger  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "vdbench_own_model", module)
        patch.setenv("VDBENCH_CACHE", str(folder / "cache"))
        return vdbench.run(SUITE, folder / "run")


def test_every_estimator_is_measured_or_refused_by_name(done: Finished) -> None:
    table = pd.read_parquet(done.folder / "results.parquet")
    noise = table[(table["metric"] == "variance.noise") & (table["layer"] == "all")]
    assert set(noise["label"][noise["value"].notna()]) == {
        "naive",
        "local",
        "grouped",
        "per-example",
    }
    cells = json.loads((done.folder / "run.json").read_text())["cells"]
    failed = [cell for cell in cells if cell["status"] == "failed"]
    assert [cell["estimator"] for cell in failed] == ["moment-matching"]
    assert "is no such chain" in failed[0]["reason"]
    assert set(table["layer"]) >= {"words", "rnn.weight_ih_l0", "rnn", "out", "norm", "all"}


def test_the_record_and_the_report_say_where_noise_enters(done: Finished) -> None:
    said = json.loads((done.folder / "run.json").read_text())["problems"]["tagger"]
    assert set(said["whole_weights"]) == {"words", "rnn.weight_ih_l0", "rnn.weight_hh_l0"}
    assert said["without_noise"] == {
        "mix": "frozen (requires_grad is False)",
        "norm": "LayerNorm: weight, bias",
    }
    assert said["frozen"] == ["mix.weight", "mix.bias"]
    assert said["said"][-1].startswith("likelihood: Categorical(), chosen because")
    table, notes = noise_table(list(load([done.folder]).runs.values()))
    assert isinstance(table, Table)
    assert ["tagger", "words", "weight only", "Embedding uses it in a way of its own"] in table.rows
    assert ["tagger", "mix", "none", "frozen (requires_grad is False)"] in table.rows
    assert ["tagger", "out", "weights or pre-activations", ""] in table.rows
    assert isinstance(notes, Bullets)
    assert {name for name, _ in notes.items} == {"tagger"}
    assert any("chosen because targets are integers" in text for _, text in notes.items), notes


def test_few_examples_need_noise_of_their_own() -> None:
    few = {"few_examples": {"local": 2}, "data_from": "naive"}
    suite = {**SUITE, "measures": {"variance": {**SUITE["measures"]["variance"], **few}}}
    module = types.ModuleType("vdbench_own_model")
    module.tagger = tagger  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "vdbench_own_model", module)
        with pytest.raises(InputError, match=r"noise of 'local' is not independent.*samples words"):
            vdbench.run(suite, "unused")
