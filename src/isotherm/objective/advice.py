"""When to use each method and how it is known to fail: from its equation, its paper or LOG.md, never a guess."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    use: str
    fails: str
    method: str = ""  # the expression to begin with, where it is more than the row
    options: str = ""  # other settings that it was published with or needs


EXPLODES = "Too many tokens or too large a coefficient, and the entropy explodes or learning stops (2505.22617)."
ONE_TOKEN = "A batch of fewer than 2 / share tokens has a single chosen token: 1,000 at 2e-3, 10,000 at 2e-4."
UNBOUNDED = "Nothing bounds how far several updates of one rollout move the policy."
CURVE = "It lies on one curve of reward against entropy with GRPO (2505.22617), so entropy falls as it does there."
ALIKE = "Groups that are all {} teach it something, and are there with signal=keep only."
KEEP = "--signal keep"
UNKNOWN_NUMBERS = "Its numbers could not be confirmed, so a search comes first."
KL_COV = f"It has no gradient at all with one update per rollout. {ONE_TOKEN} {EXPLODES}"
CLIP_COV = (
    f"Where no token lies in the window nothing is chosen, and the entropy falls in silence. {ONE_TOKEN} {EXPLODES}"
)
DIGEST = "Only to compare with a digest that gives this share; the paper's own setting is {}."
SIZE = "The control of {}: run it beside that method with the same share; only what is gained over it is the choice's."

ADVICE = {
    "grpo": Advice(
        "The place to begin, and what everything else is compared with.",
        "Entropy falls from the first steps on, most of it early (2505.22617). The division by the standard deviation "
        "lifts problems that are nearly always or hardly ever solved over the others.",
    ),
    "dr_grpo": Advice(
        "When neither the length of a response nor the spread of a group's rewards should change a token's weight.",
        "The step shrinks with the spread of rewards and with the real length over the constant one, so a learning "
        "rate found for GRPO does not carry over. Nothing in it holds entropy.",
    ),
    "rloo": Advice(
        "An unbiased group baseline without a division by the standard deviation.",
        f"It is Dr. GRPO's advantage times n / (n - 1): against that, only the size of the step differs. {CURVE}",
    ),
    "reinforce_pp": Advice(
        "When groups are small: mean and deviation come from the whole batch.",
        "Every answer to an easy problem looks good and every answer to a hard one bad, whatever it says. "
        f"{ALIKE.format('right or all wrong')} {CURVE}",
        options=KEEP,
    ),
    "reinforce": Advice(
        "The plainest policy gradient, as a reference.",
        f"No baseline means a large variance, and an answer with reward 0 teaches nothing. {ALIKE.format('right')} "
        f"{UNBOUNDED} {CURVE}",
        options=KEEP,
    ),
    "sequence_mean": Advice(
        "When a short and a long response should count the same, as in the first form of GRPO.",
        "A token of a long response counts less, so long wrong answers are punished less for each token (2503.20783). "
        "Its effect on entropy is unknown.",
    ),
    "ppo_clip": Advice(
        "To set the clip bounds yourself, or to switch on the dual clip.",
        "A tight upper bound keeps unlikely right tokens from rising (2503.14476). With one update per rollout every "
        "ratio is 1 and the bounds do nothing.",
    ),
    "clip_higher": Advice(
        "The cheapest thing to try when entropy falls under several updates per rollout.",
        "It acts on clipped tokens only, so not at all with one update. In 2511.05993 it kept entropy (.539 against "
        ".118) without a gain in accuracy (43.96 against 44.12).",
    ),
    "entropy_bonus": Advice(
        "The simplest way to hold entropy, for one who is ready to search for c.",
        "The useful range is narrow: in 2505.22617 a c of .01 exploded and .005 steadied the entropy without a gain. "
        "It lifts the entropy of every token, wanted there or not.",
    ),
    "reference_kl": Advice(
        "When the policy must stay near the model that it started from.",
        "A large c holds the policy where it was, right or wrong, and so holds learning back as well. "
        "The distance to the reference is held, the entropy only by way of it.",
    ),
    "par": Advice(
        "When entropy should stay near a level that you name (guided), or right answers should come in late (stage, "
        "epoch).",
        "A target above the present entropy drives lambda to 0, and nothing is learned from right answers. On a sharp "
        "policy wrong answers alone may lower the entropy too: in one run of the built-in model they did (LOG.md).",
    ),
    "clip_cov": Advice("When a few tokens of extreme covariance drive the collapse, to leave them out.", CLIP_COV),
    "kl_cov": Advice(
        "When a few tokens of extreme covariance drive the collapse, to hold them back: the paper finds its entropy "
        "steadier than Clip-Cov's, for one parameter more.",
        KL_COV,
    ),
    "steer": Advice(
        "To damp every token by its own estimated change of entropy, in both directions; published for the loosest "
        "clip (.99/5) as well.",
        "Weights are relative to the largest change in the batch: one extreme token leaves all others near weight 1. "
        "It slows change and brings no lost entropy back. The published estimate has the right sign for part of the "
        "tokens only; estimator=exact has it to first order.",
    ),
    "steer_released": Advice(
        "To compare with runs of the authors' code.",
        "Its estimate ignores the clip and lacks one factor pi of the paper's. The code takes the maximum in each "
        "micro-batch, here it is the batch's, so figures agree only where there is one micro-batch.",
    ),
    "steer_linear": Advice(
        "The paper's ablation with weights above 1 for the tokens that change entropy least.",
        "The map always uses its whole range, however small the changes in a batch are.",
    ),
    "steer_binary": Advice(
        "The paper's ablation: the tokens of largest change are left out altogether.",
        f"A share is left out in every batch, whether its changes are large or not. {UNKNOWN_NUMBERS}",
    ),
    "par_exponential": Advice(
        "To weaken right answers smoothly and without a schedule.",
        f"The rarest right answers have the largest advantage and lose most. {UNKNOWN_NUMBERS}",
    ),
    "positive_only": Advice(
        "For a study: what right answers do alone.",
        "Entropy collapses: .015 at the end in 2511.05993, where GRPO had .118, with accuracy 42.30 against 44.12.",
    ),
    "negative_only": Advice(
        "For a study: what wrong answers do alone.",
        "Entropy ended at .884 in 2511.05993, where GRPO had .118, with accuracy 42.70 against 44.12. Nothing names "
        "the answer to move to, so a weak policy can break.",
    ),
    "clip_lower": Advice(
        "For a study of the lower clip bound.",
        "Unlikely wrong tokens are pushed further down: of the five settings of 2511.05993 it has the least entropy.",
    ),
    "clip_tighter": Advice(
        "For a study of the lower clip bound.",
        "It keeps a little more entropy than the default and less than no clip or Clip-Higher (2511.05993).",
    ),
    "no_clip": Advice(
        "For a study without the clip; it keeps more entropy than the default (2511.05993).",
        UNBOUNDED,
    ),
    "rand_pos_clip": Advice(
        SIZE.format("Clip-Cov"),
        "It did nearly as well as methods that choose (44.88 in 2511.05993) with little entropy left (.058). "
        "The paper's share is unknown.",
    ),
    "rand_clip_cov": Advice(
        SIZE.format("Clip-Cov"), "It is of equal size only while Clip-Cov's window holds enough tokens."
    ),
    "rand_kl_cov": Advice(SIZE.format("KL-Cov"), KL_COV),
    "random_weight": Advice(
        SIZE.format("forking_tokens (share 0.8) or steer_binary (share 0.2)"),
        "It also shrinks the step as a whole, as the method beside it does.",
    ),
    "at_random": Advice(
        "The control of what it stands beside, such as Clip_B, Clip_V, Lp-Reg, STARE, A3PO or SIREN: as many tokens "
        "of either sign get the same weights and coefficients. Only what is gained over it is the choice's.",
        "Beside weights that are ratios or clips (gspo, archer, hapo, bapo) it breaks the clip; tokens that were to "
        "be stopped are not. A term that treats all tokens of one sign alike is left as it is.",
        method="clip_b + at_random",
    ),
    "kl_cov_32b": Advice("KL-Cov on a model of about 32B parameters.", KL_COV),
    "kl_cov_shipped": Advice(
        "To compare with runs of the framework that ships these numbers.",
        f"A tenth of the paper's k and beta for 7B: it may do too little to be seen. {KL_COV}",
    ),
    "kl_cov_digest": Advice(DIGEST.format("kl_cov"), KL_COV),
    "clip_cov_digest": Advice(DIGEST.format("clip_cov"), CLIP_COV),
    "forking_tokens": Advice(
        "To train only where a response can fork; published on top of Clip-Higher.",
        "The other tokens have no gradient, a sure mistake among them. What it does below 8B is unknown.",
        method="clip_higher + forking_tokens",
    ),
    "entropy_adv": Advice(
        "To reward uncertain tokens of right answers without a gradient through the entropy.",
        "The entropy is only read, so nothing holds it: it can speed the collapse up (2510.10150). Its numbers are "
        "from one reading.",
    ),
    "w_reinforce": Advice(
        "To learn from wrong answers chiefly, and from right ones a little.",
        f"Without a baseline a problem that is nearly solved moves as any other. {ALIKE.format('right or all wrong')}",
        options=KEEP,
    ),
    "psr": Advice(
        "For a study: right answers alone, without a baseline.",
        f"Diversity falls: pass@1 rises and pass@k at large k suffers (2506.01347). {ALIKE.format('right')}",
        options=KEEP,
    ),
    "nsr": Advice(
        "For a study: wrong answers alone, without a baseline.",
        f"Nothing names the answer to move to, so a weak policy can break. {ALIKE.format('wrong')}",
        options=KEEP,
    ),
    "adaptive_bonus": Advice(
        "An entropy bonus that finds its own coefficient and is off above the target.",
        "c moves by delta a step, 50 steps from 0 to its most: entropy that falls faster passes the target. Above the "
        "target nothing holds it.",
    ),
    "opo": Advice(
        "For strictly on-policy training, where the length-weighted baseline has the least variance under its paper's "
        "assumptions.",
        "Without a division the step shrinks with the spread of rewards. More than one update per rollout is outside "
        "its setting.",
        options="--updates 1",
    ),
    "unlikeliness": Advice(
        "When unlikely right answers should gain over likely ones.",
        f"The form printed in a digest favours the likely ones instead. {ALIKE.format('right')}",
        options=KEEP,
    ),
    "cispo": Advice(
        "When rare tokens should not lose their gradient to the clip.",
        f"Every token is pushed on in every update, only with a bounded weight. {UNKNOWN_NUMBERS}",
    ),
    "gspo": Advice(
        "When the reward belongs to whole responses and the ratios of single tokens are noisy.",
        "A clipped response loses all its tokens. The bounds are for long responses: the mean log-ratio of a short one "
        "varies more, and is clipped more.",
    ),
    "sapo": Advice(
        "In place of the clip, when its hard edge is unwanted.",
        "Ratios far from 1 keep a small gradient, so the policy may move further than under a clip. Whether it raises "
        "or lowers entropy is unknown.",
    ),
    "gppo": Advice("When clipped tokens carry a signal that should not be lost.", f"{UNBOUNDED} {UNKNOWN_NUMBERS}"),
    "ce_gppo": Advice(
        "To steer entropy by the tokens that PPO clips: upper lets unlikely right ones rise, lower pushes unlikely "
        "wrong ones down.",
        f"{UNBOUNDED} The bounds of its clip could not be confirmed.",
    ),
    "dcpo": Advice(
        "When rare tokens need room to rise that a fixed clip does not give them.",
        "A token of small pi_old may grow up to the cap, tenfold, within one rollout. The authors' code also bounds "
        "the loss of A < 0 by a dual clip of 10, which is not here.",
    ),
    "dcpo_smooth": Advice(
        "When the same problems come again, as those of a file do in epochs: a group whose rewards are all equal still "
        "teaches, by what earlier visits gave. With dcpo and sequence_mean it is the whole of DCPO.",
        "On a first visit it is GRPO, and the families have few second ones. Earlier rewards are an older policy's. "
        "The past of every problem goes into each checkpoint. Its effect on entropy is unknown.",
        method="dcpo + dcpo_smooth + sequence_mean",
        options=KEEP,
    ),
    "rescue": Advice(
        "When tokens just outside the clip should keep their gradient now and then.",
        f"The noise adds variance, and its effect on entropy is unknown. {UNKNOWN_NUMBERS}",
    ),
    "qae": Advice(
        "To learn from rare successes on hard problems and from rare failures on easy ones.",
        "Answers at the quantile have advantage 0: all wrong ones to a hard problem, all right ones to an easy one.",
    ),
    "gpg": Advice("The shortest group method: no ratio, no clip, no reference.", UNBOUNDED),
    "erc": Advice(
        "When several updates per rollout swing the entropy of single tokens.",
        f"Near entropy 0 every move is a large share, so sure tokens are dropped first. {UNKNOWN_NUMBERS}",
    ),
    "cw_grpo": Advice(
        "To damp tokens of extreme covariance smoothly, without a share to choose.",
        "Both tails are damped, the one that raises entropy as well.",
    ),
    "stare": Advice(
        "A mild push on rare tokens that acts only while entropy is below a target.",
        "Ten per cent on a tenth of the tokens may not hold a fast fall, and above the target nothing does.",
    ),
    "clip_b": Advice(
        "To leave out the tokens that move entropy most, by their place in the batch.",
        "Heavy tails widen the standard deviation that they are measured by. The sign of the advantage is not asked, "
        "so tokens that would raise entropy go too.",
    ),
    "clip_v": Advice(
        "To leave out the tokens that move entropy most, by their place in their own vocabulary.",
        "The sign of the advantage is not asked, so tokens that would raise entropy go too. What the paper divides by "
        "could not be confirmed.",
    ),
    "a3po": Advice(
        "To strengthen rare tokens of right answers and sure tokens of wrong ones, early in training.",
        "Both kinds raise entropy, so a large scale can raise it too far; the factor fades, and its hold with it.",
    ),
    "repo": Advice(
        "To hold entropy through advantages alone, in a framework without an entropy gradient.",
        "Every token below the mean log-probability gains, senseless ones too: a large beta breaks the policy. "
        "beta could not be confirmed.",
    ),
    "sampled_entropy": Advice(
        "An entropy bonus through advantages alone, in a framework without an entropy gradient.",
        "One sample has much more variance than the exact gradient, and is unbiased only before the policy has moved. "
        "Its useful range is as narrow as the entropy bonus's.",
    ),
    "reference_ratio": Advice(
        "A pull to the starting model through advantages alone.",
        "The ratio has no bound but e^20: a rare token that the reference likes has an enormous advantage.",
    ),
    "soft_return": Advice(
        "To reward the entropy of the whole response, not of the next token alone.",
        "A longer response has more entropy to come, so length is rewarded too. The variance grows with the length.",
    ),
    "gtpo": Advice(
        "To give credit within a response by the entropy of its tokens.",
        "Wrong tokens go with 1 / H: one that is nearly sure takes most of the bonus at its position. From one "
        f"reading of the paper. {UNKNOWN_NUMBERS}",
    ),
    "grpo_s": Advice(
        "To give credit among responses by their mean entropy.",
        f"Uncertain right answers are preferred to sure ones, rightly or not. From one reading. {UNKNOWN_NUMBERS}",
    ),
    "opefo": Advice(
        "When each rollout is used for one update and you want the batch as a whole to leave the entropy where it"
        " is, without a target to choose.",
        "It balances only the predicted first order, so entropy still drifts by what shared parameters and Adam "
        "add; where nearly every token lowers the entropy its weights go to 0 and learning stalls.",
        options="--updates 1",
    ),
    "entropy_mask": Advice(
        "When you want to see what the tokens that cost most entropy contribute: drop them (side=down), and run "
        "random_weight(share=0.2, floor=0.0) beside it.",
        "The dropped tokens are often those that are being learned, so the reward rises more slowly; at a large "
        "share little gradient is left.",
    ),
    "archer": Advice(
        "When facts must stay and reasoning may move: a wide clip on tokens of high entropy, a narrow clip and a "
        "reference KL on the others; with several updates per rollout.",
        "With one update per rollout only the small KL is left; entropy that stands for noise and not for a "
        "choice is let loose as well.",
    ),
    "hapo": Advice(
        "When several updates per rollout clip the rare rewarded tokens of high entropy, and you want room "
        "upwards there alone.",
        "It is HAPO's clip alone with bounds that no source confirmed; with one update per rollout it changes nothing.",
    ),
    "bapo": Advice(
        "With stale rollouts or many updates, where punished tokens outweigh rewarded ones and entropy falls or "
        "the loss jumps.",
        "At few updates the ratios hardly leave the bounds, so it changes little; where right answers are rare "
        "the share is out of reach and the bounds stay at their ends, which is nearly no clip.",
    ),
    "siren": Advice(
        "When an entropy bonus on everything explodes: it holds only the likely words of the tokens that fork "
        "near their first entropy.",
        "It holds the entropy of the first step, good or bad, and a small c loses against a strong collapse; it "
        "sorts the vocabulary at every token, which costs time, and its loss value is not that of the square.",
    ),
    "aent": Advice(
        "When a plain entropy bonus puts its mass on words that nobody wants: it leaves the least likely part of "
        "the vocabulary out.",
        "With a sharp policy the part left out has next to no mass and it is a plain entropy bonus; its target "
        "and rate are unconfirmed and must be set for the model at hand.",
    ),
    "lp_reg": Advice(
        "When rare but sensible words die out because they stood in wrong responses; for long runs with one or "
        "two updates.",
        "Most steps touch very few tokens, or none where the rarest punished tokens are all below kappa of the "
        "likeliest; the authors' wide clip comes with it, so without another clip updates are nearly free.",
    ),
    "flexible": Advice(
        "When you want the entropy to swing by itself, up through rare rewarded tokens and down through rare "
        "punished ones, over several updates per rollout.",
        "alpha, beta and the turning points are unconfirmed, and with one update per rollout it changes nothing; "
        "if the entropy never falls to a fifth of its start, od and did never turn.",
    ),
    "adapo": Advice(
        "The simplest automatic clip_higher: the upper bound follows the entropy by 5 % a step within .2 and .32.",
        "Between .2 and .32 it can do little against a strong collapse, it changes nothing with one update per "
        "rollout, and its target is unconfirmed.",
    ),
    "mai": Advice(
        "As adapo, with a wider range: the upper bound goes up to 3.5 times the lower one.",
        "Steps of .25 are coarse, so the bound jumps about the target; what k multiplies is our reading, and with"
        " one update per rollout it changes nothing.",
    ),
}
