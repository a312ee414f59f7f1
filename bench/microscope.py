"""The page of `isotherm inspect` in a headless browser: 1,000 responses of 200 tokens, every quantity.

python bench/microscope.py --screenshots shots
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from browser import Browser, found
from isotherm.policy.model import BUILTIN
from isotherm.policy.text import load_tokenizer
from isotherm.records import Problem, Rollout, Verdict
from isotherm.report.inspect import inspect
from isotherm.report.inspected import of_run
from isotherm.rollout import store
from isotherm.update.config import Config

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
CHARACTERS = "0123456789 +-*/=()\n"


def rollout(responses: int, length: int) -> Rollout:
    """Made-up numbers of a vocabulary of 100 words: heavy tails, moments that are possible, hostile text."""
    random, groups = np.random.default_rng(0), responses // 8
    tokenizer = load_tokenizer(BUILTIN)
    known = np.array(tokenizer.encode(CHARACTERS).ids)
    ids = random.choice(known, (responses, length)).astype(np.int64)
    hostile = tokenizer.encode(HOSTILE).ids[:length]
    ids[::8, : len(hostile)] = hostile
    entropy = random.exponential(0.4, ids.shape).clip(0, 4).astype(np.float32)
    logprob = -random.exponential(entropy + 1e-3).astype(np.float32)
    s2 = np.exp(-entropy)
    families = ("countdown", "chain")
    problems = [Problem(families[g % 2], 2, f"k{g}", f"Reach 24 ({g}). {HOSTILE}", {}) for g in range(groups)]
    verdicts = [list(Verdict)[i] for i in random.choice(4, responses, p=[0.4, 0.4, 0.1, 0.1])]
    return Rollout(
        step=7, problems=problems, prompts=[[1]] * groups, group=np.arange(responses) // 8,
        sample=np.arange(responses) % 8, ids=ids, length=np.full(responses, length), logprob=logprob, entropy=entropy,
        finished=np.ones(responses, bool), s2=s2, s2l=-s2 * entropy, texts=[""] * responses, verdicts=verdicts,
        reward=np.array([float(v is Verdict.CORRECT) for v in verdicts]),
    )  # fmt: skip


def run_folder(folder: Path, responses: int, length: int) -> Path:
    """A run of one step with every quantity: a shape, weights, a penalty, and measured changes."""
    batch = rollout(responses, length)
    store.save(store.path_of(folder, 7), batch)
    config = asdict(Config(method="repo + par + kl_cov", signal="keep", updates=1))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text('{"step": 7, "entropy/exact": 0.4}\n')
    (folder / "dynamics").mkdir()
    change = np.random.default_rng(1).standard_t(3, responses * length) * 1e-3
    columns = {
        "sequence": np.repeat(np.arange(responses), length),
        "position": np.tile(np.arange(length), responses),
        "id": batch.ids.ravel(),
        "measured": change.astype(np.float32),
    }
    pq.write_table(pa.table(columns), folder / "dynamics" / "step-000007.parquet")
    return folder


TIMED = """(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await frame();
  const begin = performance.now();
  const select = document.getElementById(%r);
  select.value = %r;
  select.dispatchEvent(new Event("change"));
  document.body.getBoundingClientRect();
  const script = performance.now() - begin;
  await frame(); await frame();
  return [script, performance.now() - begin];
})()"""
SCROLL = """(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const times = [];
  for (let i = 0; i < 40; i++) {
    const begin = performance.now();
    scrollTo(0, document.body.scrollHeight * ((i * 17) % 40) / 40);
    await frame(); await frame();
    times.push(performance.now() - begin);
  }
  scrollTo(0, 0);
  await frame(); await frame();
  return times.sort((a, b) => a - b);
})()"""
COUNTED = "document.querySelector('.counted').textContent"
TIP = "document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText"
PLACE = """(() => { const s = [...document.querySelectorAll('.tokens span')].find((s) => s.token === %d);
  s.scrollIntoView({block: 'center'}); const r = s.getBoundingClientRect();
  return [r.x + r.width / 2, r.y + r.height / 2]; })()"""


def change(browser: Browser, name: str, value: str) -> list[float]:
    return browser.run(TIMED % (f"pick-{name}", value))


def times(browser: Browser) -> dict[str, Any]:
    """Milliseconds, as the page itself measures them, until the second frame after."""
    load = browser.run("performance.getEntriesByType('navigation')[0].loadEventEnd")
    names = {"quantity": ["1", "5", "2", "0"], "quadrant": ["2", "4", ""], "family": ["chain", ""],
             "verdict": ["correct", ""], "sort": ["entropy", "move", ""]}  # fmt: skip
    found = {name: [change(browser, name, value) for value in values] for name, values in names.items()}
    worst = {f"{name}, worst ms": worst_of(rows) for name, rows in found.items()}
    scroll = browser.run(SCROLL)
    leap = {"median": round(scroll[len(scroll) // 2]), "worst": round(scroll[-1])}
    return {"load ms": round(load), **worst, "a leap of the scrollbar, ms": leap}


def worst_of(rows: list[list[float]]) -> dict[str, int]:
    """Until the handler and the layout are done, and until the second frame."""
    script, frame = (round(max(column)) for column in zip(*rows, strict=True))
    return {"script": script, "frame": frame}


def check(browser: Browser, folder: Path) -> None:
    """Hover, filters, keyboard, jumps: what the page says against what was computed."""
    specimen = of_run(folder, 7)
    token = 57
    place = browser.run(PLACE % token)
    time.sleep(0.3)  # scrolling hides what hovering shows
    browser.hover(*place)
    told = browser.run(TIP)
    for quantity in specimen.quantities:
        row = told.split(f"{quantity.kind.title}\n")[1].split("\n")[0]
        assert np.isclose(float(row), quantity.values[token], rtol=6e-3), (quantity.name, row, quantity.values[token])
    assert f"id {specimen.ids[token]}, position 57," in told, told
    assert specimen.quadrant is not None
    assert f"quadrant {specimen.quadrant[token]}" in told or specimen.quadrant[token] == 0, told
    browser.run("document.querySelector('.tokens').focus()")
    for key in ("Home", "ArrowRight", "ArrowRight"):
        browser.press(key)
    assert "position 2," in browser.run(TIP), browser.run(TIP)
    browser.press("Escape")
    assert browser.run(TIP) == ""
    change(browser, "quadrant", "2")
    wanted = f"{(specimen.quadrant == 2).sum():,} of {len(specimen.ids):,} tokens"
    assert browser.run(COUNTED).endswith(wanted), (browser.run(COUNTED), wanted)
    change(browser, "verdict", "correct")
    right = sum(v == "correct" for v in specimen.verdicts or [])
    assert browser.run(COUNTED).startswith(f"{right:,} of "), browser.run(COUNTED)
    assert browser.run("[...document.querySelectorAll('.verdict')].every((v) => v.textContent === '✓ correct')")
    values = next(q.values for q in specimen.quantities if q.kind.moves)
    moved = int(np.nanargmax(np.abs(values)))
    change(browser, "quadrant", str(1 + specimen.quadrant[moved] % 4))
    browser.run("document.querySelector('.jump').click()")
    time.sleep(0.4)
    assert browser.run(COUNTED).startswith(f"{len(specimen.length):,} of "), "a jump shows what a filter hid"
    assert f"position {moved % int(specimen.length[0])}," in browser.run(TIP), browser.run(TIP)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--responses", type=int, default=1000, help="a multiple of 8")
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--screenshots", type=Path, help="a folder for pictures of the page")
    parser.add_argument("--page", type=Path, help="take pictures of this page and do nothing else")
    options = parser.parse_args()
    program = found()
    if program is None:
        print("Skipped: no Chromium is on the PATH; Debian has it as `apt-get install chromium`.")
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.page is None:
            folder = run_folder(Path(scratch), options.responses, options.length)
            begin = time.perf_counter()
            page = inspect(folder)
            print(f"written in {time.perf_counter() - begin:.1f} s, {page.stat().st_size:,} bytes")
        else:
            folder, page = None, options.page
        with Browser(program) as browser:
            if folder:
                browser.open(page)
                print(json.dumps(times(browser), indent=1))
                check(browser, folder)
                assert browser.run("document.title").startswith("Isotherm"), "a response became markup"
                browser.call("Emulation.setScriptExecutionDisabled", value=True)
                browser.open(page)
                told = browser.run("document.body.innerText")
                assert "drawn by a script" in told, told[:500]
                assert "all of a kind" in told, told[:500]
                browser.call("Emulation.setScriptExecutionDisabled", value=False)
            if options.screenshots:
                pictures(browser, page, options.screenshots)
            outside = [url for url in browser.requests if not url.startswith(("file:", "about:", "data:"))]
            assert not outside, outside
            assert not browser.errors, browser.errors
    print("hover, keyboard, filters and jumps as computed; no request and no word on the console" if folder else "")


def pictures(browser: Browser, page: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, width, dark in (("wide", 1400, False), ("dark", 1400, True), ("narrow", 390, False)):
        browser.open(page, width, dark=dark)
        browser.run("new Promise((done) => setTimeout(done, 300))")
        browser.screenshot(folder / f"{name}.png")
        last = "(() => { const s = document.getElementById('pick-quantity'); return s.options.length - 1; })()"
        change(browser, "quantity", str(min(5, browser.run(last))))
        browser.run("document.querySelector('article').scrollIntoView()")
        place = browser.run(PLACE % 3)
        browser.run("new Promise((done) => setTimeout(done, 300))")
        browser.hover(*place)
        browser.screenshot(folder / f"{name}-hover.png")


if __name__ == "__main__":
    main()
