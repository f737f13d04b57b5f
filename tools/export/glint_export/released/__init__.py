"""Networks that other projects released weights for, written out: what their checkpoints are checked with."""
