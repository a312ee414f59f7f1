"""A model of your own."""

from isotherm import Config


def own_model() -> Config:
    """For any Hugging Face causal language model in a local folder: give it with --model PATH, then set --lr.

    A few responses go through the network at a time, since a large model's activations do not fit otherwise.
    """
    return Config(method="clip_higher", lr=1e-6, max_new=256, micro_batch=4, temperature=1.0, eval_problems=16)
