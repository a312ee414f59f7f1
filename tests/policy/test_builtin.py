"""The model inside the package: small, loadable by others, and in the regime in which entropy is worth watching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isotherm.measure.passk import mean_pass_at_k
from isotherm.policy.model import BUILTIN, load_policy
from isotherm.policy.pretrain import make
from isotherm.records import Rollout, Verdict
from isotherm.rollout.collect import collect
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.mix import parse_mix
from isotherm.tasks.problems import problem_set
from isotherm.update.config import Config
from isotherm.update.precision import kept

pytestmark = pytest.mark.skipif(
    not (BUILTIN / "config.json").is_file(), reason="no model in policy/builtin yet; `isotherm pretrain` makes it"
)
TRAINED, OTHERS = parse_mix("countdown:2,chain:3,subset:2"), parse_mix("fill:2,ladder:2,route:3")


def answers(family: str, level: int, problems: int, samples: int) -> Rollout:
    asked = problem_set(family, level, 0, problems, "test")
    return collect(load_policy("builtin"), asked, samples, Sampling(Config().max_new), seed=1, step=0)


def solved(rollout: Rollout, samples: int) -> np.ndarray:
    """[problems, samples]."""
    return np.array([v is Verdict.CORRECT for v in rollout.verdicts]).reshape(-1, samples)


def test_it_is_small() -> None:
    parameters = sum(p.numel() for p in load_policy("builtin").parameters().values())
    assert parameters <= 2_000_000
    assert sum(f.stat().st_size for f in BUILTIN.rglob("*") if f.is_file()) <= 4 * 2**20


def test_transformers_loads_it() -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(BUILTIN)
    tokenizer = transformers.AutoTokenizer.from_pretrained(BUILTIN)
    ids = tokenizer("make 5 from 2 3:", return_tensors="pt")["input_ids"]
    assert model.generate(ids, max_new_tokens=4, do_sample=False).shape[1] > ids.shape[1]


def test_it_has_a_model_card() -> None:
    assert "isotherm pretrain" in (BUILTIN / "README.md").read_text(encoding="utf-8")


def test_it_sometimes_succeeds_and_still_has_choices() -> None:
    """A quick look at each family; the exact regime is the slow test's."""
    for family, level in TRAINED:
        rollout = answers(family, level, 24, 8)
        rate = solved(rollout, 8).mean()
        assert 0.05 <= rate <= 0.6, f"{family}:{level} solves {rate:.2f}"
        assert rollout.entropy.sum() / rollout.length.sum() >= 0.2
        assert rollout.finished.mean() > 0.9


@pytest.mark.slow
def test_it_is_in_the_regime_of_the_papers() -> None:
    """Trained families: pass@1 15-35 %, mean pass@16 above 60 %; others 2-30 %; entropy at least 0.3 nats."""
    sixteen, entropy, tokens = [], 0.0, 0
    for family, level in [*TRAINED, *OTHERS]:
        rollout = answers(family, level, 256, 16)
        right = solved(rollout, 16)
        low, high = (0.15, 0.35) if (family, level) in TRAINED else (0.02, 0.30)
        assert low <= right.mean() <= high, f"{family}:{level} solves {right.mean():.3f}"
        entropy, tokens = entropy + float(rollout.entropy.sum()), tokens + int(rollout.length.sum())
        if (family, level) in TRAINED:
            sixteen.append(mean_pass_at_k(right, 16))
    assert np.mean(sixteen) > 0.6
    assert entropy / tokens >= 0.3


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    """Two short pretrainings, byte for byte; another seed differs."""
    files = []
    with kept():
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            make(tmp_path / name, seed=seed, steps=2)
            files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]
