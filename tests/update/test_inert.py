"""A run says once that a term of its method does nothing."""

from isotherm import api
from isotherm.update import inert
from models import tiny_model
from update.test_resume import SETTINGS


def test_a_run_says_once_what_does_nothing_and_why(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inert, "LONG", 5)
    settings = SETTINGS | {"method": "clip_cov(low=1e9, high=2e9) + entropy_bonus(c=0.1)", "steps": 11, "updates": 2}
    api.train(**settings, model=str(tiny_model(tmp_path / "model")), out=str(tmp_path / "run"))
    said = [line for line in capsys.readouterr().out.splitlines() if "has changed nothing" in line]
    assert said == [
        "Step 5: clip_cov has changed nothing for 5 steps: it left the weight of every token at 1: none was in its "
        "window or selection."
    ]
