"""What a run looks like: live in the terminal, in trackers, and as one self-contained HTML page."""
