"""Networks that other projects released weights for, written out from their papers: what their checkpoints are checked with."""
