"""Minutes until samples are good, beside what a user would pick instead."""
