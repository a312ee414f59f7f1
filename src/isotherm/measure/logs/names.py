"""What each tool means by its names: (tool, its name) -> our name, with what the tool's source says it is.

Entropies of different meaning never share a name. `entropy/exact` is over the whole vocabulary and at the sampling
temperature; `entropy/untempered` leaves the temperature out; `entropy/sampled` is minus the mean log-probability of the
sampled tokens; `entropy/importance_weighted` multiplies that by a ratio; where the log does not tell, it is
`entropy/unknown`. Where two names of a tool mean the same, the first row goes first.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import NamedTuple

from isotherm.measure.catalogue import describe

ISOTHERM, UNKNOWN = "isotherm", "unknown"
HF = r"(?:train/)?"  # the trackers of transformers put this before every name


class Name(NamedTuple):
    """`key` is a regular expression of the tool's name; ours is `value * scale + offset`; {0} is the first group."""

    tool: str
    key: str
    name: str
    note: str = ""
    scale: float = 1.0
    offset: float = 0.0


NAMES: tuple[Name, ...] = (
    # TRL 1.16 trainer/grpo_trainer.py: _compute_loss, _generate_and_score_completions
    Name(
        "TRL", HF + "entropy", "entropy/exact",
        "of the current policy inside the loss, mean over tokens and over the passes since the last log",
    ),
    Name("TRL", HF + "reward", "reward/mean", "sum of the weighted reward functions"),
    Name("TRL", "share of stored responses with reward 1", "pass@1/train", "rewards are all 0 or 1"),
    Name("TRL", HF + "reward_std", "reward/std"),
    Name("TRL", HF + "frac_reward_zero_std", "signal/groups", "1 - frac_reward_zero_std", -1.0, 1.0),
    Name("TRL", HF + r"completions/mean_length", "length/mean"),
    Name("TRL", HF + r"completions/max_length", "length/max"),
    Name("TRL", HF + r"completions/clipped_ratio", "length/overlong"),
    Name("TRL", HF + r"clip_ratio/low_mean", "update/clip_low"),
    Name("TRL", HF + r"clip_ratio/high_mean", "update/clip_high"),
    Name("TRL", HF + r"(?:clip_ratio/region_mean|clip_ratio)", "update/clip"),
    Name("TRL", HF + r"grad_norm", "update/grad_norm"),
    Name("TRL", HF + r"learning_rate", "update/lr"),
    Name("TRL", HF + r"loss", "update/loss"),
    Name("TRL", HF + r"kl", "kl/reference", "estimated by k3"),
    Name("TRL", HF + r"entropy_coef", "knob/entropy_coef"),
    # verl 0.9.1 trainer/ppo/ray_trainer.py, workers/utils/losses.py, core_algos.py, metric_utils.py
    Name("verl", "actor/entropy", "entropy/exact", "of the policy that scored the batch, as loss_agg_mode says"),
    Name("verl", "actor/entropy_loss", "entropy/exact", "of the current policy in the loss, as loss_agg_mode says"),
    Name("verl", "critic/score/mean", "reward/mean", "before any KL penalty; sum over the response"),
    Name("verl", "critic/rewards/mean", "reward/mean", "with the KL penalty in the reward, where that is on"),
    Name("verl", "response_length/mean", "length/mean"),
    Name("verl", "response_length/max", "length/max"),
    Name("verl", "response_length/clip_ratio", "length/overlong", "share of the responses as long as is allowed"),
    Name("verl", "actor/pg_clipfrac", "update/clip", "high and low clip together"),
    Name("verl", "actor/grad_norm", "update/grad_norm"),
    Name("verl", "actor/lr", "update/lr"),
    Name("verl", r"actor/lr\(1e-4\)", "update/lr", "in units of 1e-4 in the log", 1e-4),
    Name("verl", "actor/pg_loss", "update/loss", "policy-gradient part"),
    Name("verl", "actor/ppo_kl", "update/kl_old_k1"),
    Name("verl", "(?:actor/)?kl_loss", "kl/reference", "estimator: kl_loss_type"),
    Name("verl", "actor/reward_kl_penalty", "kl/reference", "estimator: kl_penalty"),
    Name("verl", r"val-core/(.+)/acc/mean@\d+", "eval/{0}/pass@1", "mean of acc; best@N and maj@N are not read"),
    # prime-rl (August 2026) trainer/rl/train.py and loss.py, orchestrator/metrics.py; reward/all/mean in older ones
    Name("prime-rl", "entropy/all/mean", "entropy/exact", "of the policy inside the loss, at each token's temperature"),
    Name("prime-rl", r"train/agg/effective/[^/]+/reward/mean", "reward/mean", "of the rollouts that were trained on"),
    Name("prime-rl", r"train/agg/all/[^/]+/reward/mean", "reward/mean", "of all rollouts"),
    Name("prime-rl", "reward/all/mean", "reward/mean"),
    Name("prime-rl", r"train/agg/effective/num_output_tokens/mean", "length/mean", "output tokens of an episode"),
    Name("prime-rl", r"(?:seq_len|decode_len)/all/mean", "length/mean"),
    Name("prime-rl", r"train/agg/effective/[^/]+/is_truncated/mean", "length/overlong"),
    Name("prime-rl", "optim/grad_norm", "update/grad_norm"),
    Name("prime-rl", "optim/lr", "update/lr"),
    Name("prime-rl", "loss/mean", "update/loss"),
    Name("prime-rl", "mismatch_kl/all/mean", "mismatch/kl"),
    Name("prime-rl", "is_masked/mean", "update/clip", "share of the tokens masked by the trust region"),
    Name("prime-rl", r"eval/([^/]+)/(?:effective/[^/]+/)?pass@(\d+)", "eval/{0}/pass@{1}"),
    # OpenRLHF trainer/ray/ppo_actor.py, models/actor.py: logits without temperature to 0.11.1, with it from 0.11.2
    Name("OpenRLHF", "train/entropy_loss", "entropy/unknown", "untempered to 0.11.1, exact since 0.11.2; not logged"),
    Name("OpenRLHF", "train/reward", "reward/mean"),
    Name("OpenRLHF", "train/response_length", "length/mean"),
    Name("OpenRLHF", "train/ppo_clip_ratio", "update/clip"),
    Name("OpenRLHF", "train/actor_grad_norm", "update/grad_norm"),
    Name("OpenRLHF", "train/actor_lr", "update/lr"),
    Name("OpenRLHF", "train/policy_loss", "update/loss"),
    Name("OpenRLHF", "train/ppo_kl", "update/kl_old_k1"),
    Name("OpenRLHF", "train/kl", "kl/reference"),
    # slime backends/megatron_utils/loss.py: mean over samples; train/* counts updates, rollout/* rollouts
    Name("slime", "train/entropy_loss", "entropy/exact", "of the current policy inside the loss, mean over responses"),
    Name("slime", "rollout/entropy", "entropy/exact", "of the policy that scored the rollout"),
    Name("slime", "rollout/log_probs", "entropy/sampled", "minus rollout/log_probs, of the scoring policy", -1.0),
    Name("slime", "rollout/raw_reward", "reward/mean"),
    Name("slime", r"rollout/response_len/mean", "length/mean"),
    Name("slime", "train/pg_clipfrac", "update/clip"),
    Name("slime", "train/grad_norm", "update/grad_norm"),
    Name("slime", "train/lr-pg_0", "update/lr"),
    Name("slime", "train/loss", "update/loss"),
    Name("slime", "train/ppo_kl", "update/kl_old_k1"),
    Name("slime", "train/kl_loss", "kl/reference"),
    # SkyRL 0.3
    Name("SkyRL", "policy/policy_entropy", "entropy/exact", "mean over micro-batches, not over tokens"),
    Name("SkyRL", r"reward/avg_raw_reward", "reward/mean"),
    Name("SkyRL", r"generate/avg_num_tokens", "length/mean"),
    Name("SkyRL", r"policy/ppo_clip_ratio", "update/clip"),
    Name("SkyRL", r"policy/raw_grad_norm", "update/grad_norm"),
    Name("SkyRL", r"policy/policy_lr", "update/lr"),
    Name("SkyRL", r"policy/policy_loss", "update/loss"),
    # NeMo-RL: -r log p, with r the ratio of the trainer to the generator
    Name("NeMo-RL", "(?:train/)?approx_entropy", "entropy/importance_weighted", "no entropy: mean of -r log p"),
    Name("NeMo-RL", "(?:train/)?reward", "reward/mean"),
    Name("NeMo-RL", "(?:train/)?mean_gen_tokens_per_sample", "length/mean"),
    Name("NeMo-RL", "(?:train/)?grad_norm", "update/grad_norm"),
    Name("NeMo-RL", "(?:train/)?lr", "update/lr"),
    Name("NeMo-RL", "(?:train/)?loss", "update/loss"),
    # tinker-cookbook: minus the mean log-probability of the sampled tokens
    Name("tinker-cookbook", "optim/entropy", "entropy/sampled", "of the sampler"),
    Name("tinker-cookbook", "env/all/reward/total", "reward/mean"),
    Name("tinker-cookbook", "env/all/correct", "pass@1/train"),
    Name("tinker-cookbook", "env/all/ac_tokens_per_turn", "length/mean", "per turn"),
    Name("tinker-cookbook", "optim/lr", "update/lr"),
    # ROLL: logits without the temperature
    Name("ROLL", "critic/entropy/mean", "entropy/untempered", "no division by the temperature was found in its source"),
    Name("ROLL", "critic/score/mean", "reward/mean"),
    Name("ROLL", "tokens?/response_length/mean", "length/mean"),
    Name("ROLL", "actor(?:_train)?/grad_norm", "update/grad_norm"),
    Name("ROLL", "actor/lr", "update/lr"),
    Name("ROLL", "actor/pg_loss", "update/loss"),
)  # fmt: skip

PREFIX = r"(?:(?:train|rollout|actor|policy|critic|metrics|stats|optim|perf|nested)[/._])?"
GUESS = "by its name alone"
NAMES += tuple(
    Name(UNKNOWN, f"(?i){PREFIX}(?:{key})", name, GUESS)
    for key, name in (
        (r"(?:mean_|avg_)?(?:policy_|token_)?entropy(?:[/_](?:all[/_])?(?:mean|avg))?", "entropy/unknown"),
        (r"approx_entropy|entropy_loss|entropy/\w+", "entropy/unknown"),
        (r"(?:mean_|avg_)?rewards?(?:[/_](?:all[/_])?(?:mean|avg))?|(?:mean_)?score(?:[/_]mean)?", "reward/mean"),
        (r"rewards?[/_]std", "reward/std"),
        (r"pass(?:@|_?at_?|_)1|pass1|accuracy|acc", "pass@1/train"),
        (r"(?:mean_|avg_)?(?:response_|completion_|gen_)?len(?:gths?)?(?:[/_](?:mean|avg))?", "length/mean"),
        (r"clip(?:_?frac(?:tion)?|_ratio)?[/_]low(?:_mean)?", "update/clip_low"),
        (r"clip(?:_?frac(?:tion)?|_ratio)?[/_]high(?:_mean)?", "update/clip_high"),
        (r"(?:pg_|ppo_)?clip_?(?:frac(?:tion)?|ratio)", "update/clip"),
        (r"(?:gradient|grad)_?norm", "update/grad_norm"),
        (r"lr|learning_rate", "update/lr"),
        (r"(?:policy_|pg_)?loss", "update/loss"),
        (r"(?:approx_|mean_)?kl(?:_?div(?:ergence)?)?(?:[/_]mean)?", "kl/unknown"),
    )
)

# A log is of the first tool of which it holds one of these names.
SIGNS: tuple[tuple[str, str], ...] = (
    (ISOTHERM, r"entropy/exact(?:_per_response)?|pass@1/train|eval/(?:trained|held_out)/.+"),
    ("prime-rl", r"entropy/all/(?:mean|max|std)|mismatch_kl/all/mean|train/agg/(?:effective|all)/.+"),
    ("NeMo-RL", r"train/approx_entropy|(?:train/)?mean_gen_tokens_per_sample"),
    ("ROLL", r"critic/entropy/mean"),
    ("verl", r"actor/(?:entropy|entropy_loss|pg_loss|pg_clipfrac|ppo_kl)|critic/(?:score|rewards)/mean|val-core/.+"),
    ("TRL", HF + r"(?:clip_ratio/(?:region|low|high)_mean|frac_reward_zero_std|completions/mean_length)"),
    ("slime", r"rollout/raw_reward|train/train_rollout_logprob_abs_diff|train/lr-pg_0|rollout/log_probs"),
    ("OpenRLHF", r"train/(?:actor_lr|actor_grad_norm|policy_loss)"),
    ("SkyRL", r"policy/(?:policy_entropy|raw_grad_norm|final_loss)"),
    ("tinker-cookbook", r"optim/entropy|env/all/.+"),
)
ROWS = [(re.compile(row.key), row) for row in NAMES]


def tool_of(names: Iterable[str]) -> str:
    """The tool that writes such names."""
    names = list(names)
    matching = (tool for tool, sign in SIGNS if any(re.fullmatch(sign, name) for name in names))
    return next(matching, UNKNOWN)


NOTHING: Mapping[str, str] = MappingProxyType({})
TOLD: ContextVar[Mapping[str, str]] = ContextVar("TOLD", default=NOTHING)  # the log's name -> ours, as the user says


@contextlib.contextmanager
def told(columns: Mapping[str, str]) -> Iterator[None]:
    """Within it, what the user says of these columns goes before every row of the table."""
    token = TOLD.set(dict(columns))
    try:
        yield
    finally:
        TOLD.reset(token)


def wanted(name: str) -> bool:
    """Whether any tool, or the user, means by this name something that is read."""
    return name in TOLD.get() or (len(name) < 200 and (any(regex.fullmatch(name) for regex, _ in ROWS) or own(name)))


def own(name: str) -> bool:
    return name != "step" and describe(name) is not None


def found(keys: Iterable[str], tool: str) -> Iterator[tuple[str, str, Name]]:
    """(our name, the log's name, the row) of what a tool means by these names, in the table's order."""
    keys, meant = list(keys), TOLD.get()
    keys, said = [key for key in keys if key not in meant], [key for key in keys if key in meant]
    yield from ((meant[key], key, Name(tool, re.escape(key), meant[key], "as --column says")) for key in said)
    if tool == ISOTHERM:
        yield from ((key, key, Name(ISOTHERM, re.escape(key), key)) for key in keys if own(key))
        return
    for regex, row in rows_of(tool):
        for key in keys:
            if match := regex.fullmatch(key):
                yield row.name.format(*(part.replace("/", "_") for part in match.groups(""))), key, row


@functools.cache
def rows_of(tool: str) -> list[tuple[re.Pattern[str], Name]]:
    return [(regex, row) for regex, row in ROWS if row.tool == tool]
