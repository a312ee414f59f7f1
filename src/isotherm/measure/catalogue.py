"""The one table of metrics: name, unit, reduction and definition of everything a run writes."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One measured quantity. A `{placeholder}` stands for a family, a side, a verdict, a knob or a number."""

    name: str
    unit: str
    reduction: str
    definition: str


METRICS: tuple[Metric, ...] = (
    Metric("step", "count", "none", "Number of rollouts trained on so far; 0 is the starting model."),
    Metric("reward/mean", "reward", "mean over responses", "Reward of a sampled response."),
    Metric("reward/std", "reward", "as the log's tool", "Standard deviation of rewards. Only in logs of other tools."),
    Metric("pass@1/train", "share", "mean over responses", "Share of the sampled responses that are correct."),
    Metric("pass@1/train/{family}", "share", "mean over responses", "Share of correct responses to {family}."),
    Metric("verdict/{verdict}", "share", "mean over responses", "Share of the responses whose verdict is {verdict}."),
    Metric(
        "entropy/exact",
        "nats per token",
        "mean over sampled tokens",
        "Exact entropy of the full next-token distribution at the sampling temperature, of the policy that sampled.",
    ),
    Metric(
        "entropy/exact_per_response",
        "nats per token",
        "mean over tokens, then over responses",
        "Exact entropy, averaged within each response first: the H of the law R = -a e^H + b of arXiv 2505.22617.",
    ),
    Metric(
        "entropy/sampled",
        "nats per token",
        "mean over sampled tokens",
        "Minus the log-probability of the sampled token: an unbiased but noisier estimate of the entropy.",
    ),
    Metric(
        "entropy/untempered",
        "nats per token",
        "as the log's tool",
        "Exact entropy of the next-token distribution without the sampling temperature. Only in logs of other tools.",
    ),
    Metric(
        "entropy/importance_weighted",
        "nats per token",
        "as the log's tool",
        "Minus ratio times log-probability of the sampled token, which is no entropy. Only in logs of other tools.",
    ),
    Metric(
        "entropy/unknown",
        "unknown",
        "unknown",
        "Called entropy in a log of another tool that does not say which one it is.",
    ),
    Metric("length/mean", "tokens", "mean over responses", "Tokens in a response, end-of-text included."),
    Metric("length/max", "tokens", "maximum over responses", "Tokens in the longest response."),
    Metric("length/overlong", "share", "mean over responses", "Share of the responses cut at max_new."),
    Metric("signal/groups", "share", "mean over groups", "Share of the groups whose rewards are not all equal."),
    Metric("signal/refills", "count", "sum over the step", "Extra sampling rounds to replace groups without signal."),
    Metric("tokens/sampled", "tokens", "sum over the step", "Response tokens sampled."),
    Metric("tokens/trained", "tokens", "sum over the step", "Response tokens that the loss is a sum over."),
    Metric(
        "mismatch/mean",
        "nats",
        "mean over scored tokens",
        "Absolute difference between the log-probabilities of the sampler and of the scorer. With one update per "
        "rollout, responses whose coefficient is 0 in every term of the loss are not scored. With scored_by=sampler "
        "and several updates nothing is scored again, and there is none to report.",
    ),
    Metric(
        "mismatch/max",
        "nats",
        "maximum over scored tokens",
        "Largest absolute difference between the log-probabilities of the sampler and of the scorer.",
    ),
    Metric("update/count", "count", "sum over the step", "Optimizer steps taken."),
    Metric("update/loss", "loss", "mean over updates", "Loss of an optimizer step."),
    Metric("update/grad_norm", "norm", "mean over updates", "Euclidean norm of the gradient before clipping."),
    Metric("update/grad_norm_max", "norm", "maximum over updates", "Largest norm of the gradient before clipping."),
    Metric("update/lr", "rate", "last update", "Learning rate."),
    Metric("update/skipped", "count", "sum over the step", "Optimizer steps skipped because a value was not finite."),
    Metric(
        "update/clip_low",
        "share",
        "mean over tokens",
        "Share of the tokens whose ratio is below the clip range where that stops the gradient.",
    ),
    Metric(
        "update/clip_high",
        "share",
        "mean over tokens",
        "Share of the tokens whose ratio is above the clip range where that stops the gradient.",
    ),
    Metric(
        "update/ratio_max",
        "ratio",
        "maximum over tokens",
        "Largest ratio pi / pi_old. A response whose coefficient is 0 in every term of the loss is not scored again: "
        "in this and the other metrics of an update it keeps its old log-probabilities, with ratio 1.",
    ),
    Metric(
        "update/kl_old",
        "nats per token",
        "mean over tokens",
        "KL divergence between pi_old and pi, estimated by k3 = r - 1 - log r.",
    ),
    Metric(
        "update/clip",
        "share",
        "mean over tokens",
        "Share of the tokens that are clipped on either side. Only in logs of other tools.",
    ),
    Metric(
        "update/kl_old_k1",
        "nats per token",
        "mean over tokens",
        "KL divergence between pi_old and pi, estimated by k1 = -log r. Only in logs of other tools.",
    ),
    Metric(
        "kl/reference",
        "nats per token",
        "as the log's tool",
        "KL divergence between pi and the frozen reference. Only in logs of other tools.",
    ),
    Metric("kl/unknown", "unknown", "unknown", "Called KL in a log of another tool that does not say between which."),
    Metric(
        "mismatch/kl",
        "nats per token",
        "mean over tokens",
        "KL divergence between the sampler and the trainer's policy. Only in logs of other tools.",
    ),
    Metric(
        "method/touched", "share", "mean over tokens", "Share of tokens whose weight, advantage or penalty was changed."
    ),
    Metric(
        "method/change",
        "share",
        "mean over updates",
        "Size of what the method changes of the gradient of GRPO with PPO clip .2/.2 on the same tokens, over the size "
        "of that gradient; at the logits, each token's state by itself, without functionals of the distribution.",
    ),
    Metric(
        "method/change_exact",
        "share",
        "mean over updates",
        "The same of the gradients in the space of the parameters, before the norm is clipped; every measure_every "
        "steps, with measure_in=parameters.",
    ),
    Metric("method/clamped", "share", "mean over tokens", "Share of the log-ratios clamped at -20 or 20."),
    Metric("method/covariance", "nats", "covariance over tokens", "Covariance of log pi and the advantage."),
    Metric("hold/line", "nats per token", "value in the step", "The entropy that the thermostat aims at."),
    Metric("hold/error", "nats per token", "value in the step", "entropy/exact minus hold/line."),
    Metric(
        "dynamics/predicted/{name}",
        "nats per token",
        "mean over tokens, then over updates",
        "First-order change of the entropy of an update as {name} estimates it, where each token moves the logits of "
        "its own state by the learning rate times its gradient: right up to one factor per run. A penalty's own push "
        "on the entropy is not in it.",
    ),
    Metric(
        "dynamics/sign/{name}",
        "nats per token",
        "sum over the tokens of a sign over all, mean over updates",
        "The part of dynamics/predicted/exact that comes from tokens whose advantage is {name}.",
    ),
    Metric(
        "dynamics/quadrant/{name}",
        "nats per token",
        "sum over the tokens of a quadrant over all, mean over updates",
        "The part of dynamics/predicted/exact that comes from tokens of quadrant {name} of arXiv 2510.10150, with the "
        "exact boundary; none is A = 0.",
    ),
    Metric(
        "dynamics/positive_loss",
        "share",
        "mean over updates",
        "Share of the sum of the tokens' absolute losses that tokens with A > 0 carry.",
    ),
    Metric(
        "dynamics/positive_gradient",
        "share",
        "mean over updates",
        "Share of the sum of the tokens' gradient norms, at the logits, that tokens with A > 0 carry.",
    ),
    Metric(
        "dynamics/measured",
        "nats per token",
        "mean over tokens, then over updates",
        "Change of the exact entropy on the states of an update, from before to after it; every measure_every steps.",
    ),
    Metric(
        "dynamics/along_step",
        "nats per token",
        "mean over updates",
        "Inner product of the gradient of the mean entropy before an update with the step of all weights that the "
        "optimizer took; every measure_every steps.",
    ),
    Metric(
        "dynamics/entropy_penalty",
        "nats per token",
        "mean over tokens, then over updates",
        "What a penalty on the entropy itself adds to dynamics/predicted/exact; every measure_every steps.",
    ),
    Metric(
        "dynamics/plain_step/{name}",
        "nats per token",
        "sum over tokens, mean over updates",
        "What tokens whose advantage is {name} do to the mean entropy in a step of minus the learning rate times the "
        "gradient: the inner product of their part of it with the gradient of the mean entropy; every measure_every "
        "steps, with measure_in=parameters.",
    ),
    Metric(
        "dynamics/adam_step/{name}",
        "nats per token",
        "sum over tokens, mean over updates",
        "The part of dynamics/along_step that comes from tokens whose advantage is {name}; momentum is what comes from "
        "the gradients of earlier updates and from weight decay; every measure_every steps, with "
        "measure_in=parameters.",
    ),
    Metric("knob/{name}", "setting", "value used in the step", "Value of the method's control {name}."),
    Metric(
        "eval/trained/pass@{k}",
        "share",
        "mean over families",
        "Unbiased pass@{k} on evaluation problems, mean over the trained families.",
    ),
    Metric(
        "eval/trained/entropy",
        "nats per token",
        "mean over families",
        "Exact entropy on evaluation problems at the evaluation temperature, mean over the trained families.",
    ),
    Metric(
        "eval/held_out/pass@{k}",
        "share",
        "mean over families",
        "Unbiased pass@{k} on evaluation problems, mean over the families that are never trained on.",
    ),
    Metric("eval/{family}/pass@{k}", "share", "mean over problems", "Unbiased pass@{k} on problems of {family}."),
    Metric(
        "eval/{family}/entropy",
        "nats per token",
        "mean over sampled tokens",
        "Exact entropy on evaluation problems of {family}, at the evaluation temperature.",
    ),
    Metric("eval/{family}/length", "tokens", "mean over responses", "Tokens in a response to a problem of {family}."),
    Metric(
        "eval/{side}/pass@{k}_low",
        "share",
        "mean over families",
        "Lower end of the 95 % interval of pass@{k}: Wilson's, with the variance between problems, for problems and "
        "responses drawn anew from the {side} families.",
    ),
    Metric("eval/{side}/pass@{k}_high", "share", "mean over families", "Upper end of the same interval of pass@{k}."),
    Metric(
        "eval/{side}/majority",
        "share",
        "mean over problems, then over families",
        "Chance that the most frequent answer of all samples is correct, by normal form; a tie counts as a fair draw.",
    ),
    Metric(
        "eval/{side}/distinct_correct",
        "count",
        "mean over problems, then over families",
        "Different normal forms among the correct responses to a problem; it grows with eval_samples.",
    ),
    Metric(
        "eval/{side}/duplicates",
        "share",
        "mean over answers, then over families",
        "Share of the answers whose normal form an earlier answer to the same problem had; it grows with eval_samples.",
    ),
    Metric(
        "eval/{side}/ngram_diversity",
        "share",
        "mean over problems, then over families",
        "Distinct n-grams of tokens over all n-grams of the first 16 responses to a problem, mean over n = 1 to 4.",
    ),
    Metric(
        "eval/{side}/self_bleu",
        "share",
        "mean over responses, then over families",
        "BLEU with n-grams of 1 to 4 tokens of each of the first 16 responses to a problem against the others of them, "
        "without smoothing; 1 means that all are alike.",
    ),
    Metric(
        "eval/{side}/logprob_gap",
        "nats per token",
        "difference of means over responses, then mean over families",
        "Mean log-probability per token of the correct responses minus that of the wrong ones, at the evaluation "
        "temperature; families with responses of one kind only are left out.",
    ),
    Metric(
        "eval/{side}/ece_normalised",
        "share",
        "mean over families",
        "Expected calibration error in 10 equally wide bins; the confidence in a response is its probability "
        "normalised by length, the geometric mean over its tokens.",
    ),
    Metric(
        "eval/{side}/ece_vote",
        "share",
        "mean over families",
        "Expected calibration error in 10 equally wide bins; the confidence in a response is the share of the "
        "responses to the same problem with the same answer, 0 without an answer.",
    ),
    Metric(
        "eval/{side}/brier_normalised",
        "share squared",
        "mean over responses, then over families",
        "Brier score, the mean squared difference of confidence and correctness; confidence as in ece_normalised.",
    ),
    Metric(
        "eval/{side}/brier_vote",
        "share squared",
        "mean over responses, then over families",
        "Brier score, the mean squared difference of confidence and correctness; confidence as in ece_vote.",
    ),
    Metric(
        "eval/{side}/entropy_prompt",
        "nats",
        "mean over problems, then over families",
        "Exact entropy of the first response token, the distribution that the prompt alone decides. The entropy of the "
        "prompt's own tokens is not measured.",
    ),
)

# Not written to the metrics: computed from a run in Python, by the name of the call.
DERIVED: tuple[Metric, ...] = (
    Metric(
        "run.evaluation(step).for_family(name).measures()",
        "as above",
        "as above, for one family",
        "The measures eval/{side}/.. of one family, of the stored responses.",
    ),
    Metric(
        "run.evaluation(step).avg_at_k(k)",
        "share",
        "mean over problems",
        "avg@k: share of correct responses among the first k to a problem; with k = eval_samples it is pass@1.",
    ),
    Metric(
        "run.evaluation(step).reliability(notion)",
        "share",
        "mean over responses in a bin",
        "Reliability curve: confidence and accuracy in 10 equally wide bins of the confidence, which is the "
        "probability of the response (sequence), that normalised by length (normalised) or its vote share (vote).",
    ),
    Metric(
        "run.evaluation(step).entropy_by_position()",
        "nats per token",
        "mean over responses",
        "Exact entropy of token 0, 1, .. of the responses that are that long; the count of them stands beside it.",
    ),
    Metric(
        "run.evaluation(step).entropy_by_part()",
        "nats per token",
        "mean over tokens",
        "Exact entropy in each tenth of the responses: token t of T is in part floor(10 t / T).",
    ),
    Metric(
        "run.attribution(by, space)",
        "nats per token",
        "sum over the tokens of a label, mean over updates",
        "The change of entropy by sign, quadrant, quadrant_published, clip, position, token, family or covariance, of "
        "the measured updates: at the logits of the tokens' own states, or with space=parameters through the "
        "parameters that all tokens share, which needs measure_in=parameters.",
    ),
    Metric(
        "run.steps_to(name, threshold)",
        "steps",
        "none",
        "First step at which the metric reaches the threshold; NaN where it never does.",
    ),
    Metric(
        "run.area(name)",
        "unit of the metric times steps",
        "sum over the steps",
        "Area under the metric's curve, by trapezoids between the steps that have a value.",
    ),
)


def pattern(name: str) -> re.Pattern[str]:
    """The names that a name with placeholders stands for; {k} is a number."""
    parts = re.split(r"\{(\w+)\}", name)
    fields = {"k": r"\d+", "name": r".+", "side": "trained|held_out"}
    named = [re.escape(p) if i % 2 == 0 else f"(?P<{p}>{fields.get(p, '[^/]+')})" for i, p in enumerate(parts)]
    return re.compile("".join(named))


# The most specific name first: eval/trained/pass@{k} before eval/{family}/pass@{k}.
PATTERNS = [(pattern(m.name), m) for m in sorted(METRICS, key=lambda m: m.name.count("{"))]


def describe(name: str) -> Metric | None:
    """The metric of that name with its placeholders filled in, or None where the table has no such name."""
    for regex, metric in PATTERNS:
        if match := regex.fullmatch(name):
            return dataclasses.replace(metric, name=name, definition=metric.definition.format(**match.groupdict()))
    return None


def table() -> str:
    """The table as plain text: a line of name, unit and reduction, and the definition under it."""
    rows = (*METRICS, *DERIVED)
    wide, unit = (max(len(getattr(m, field)) for m in rows) for field in ("name", "unit"))
    lines = []
    for m in rows:
        lines.append(f"{m.name:{wide}}  {m.unit:{unit}}  {m.reduction}")
        definition = re.sub(r"\{(\w+)\}", r"\1", m.definition)
        lines.append(textwrap.fill(definition, 110, initial_indent="    ", subsequent_indent="    "))
    return "\n".join(lines)
