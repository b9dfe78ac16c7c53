"""The loop and the folder of a run: checkpoints, records, signals."""
