"""The law of arXiv 2505.22617 between entropy and reward, its rivals, and what it says about the end of a run."""
