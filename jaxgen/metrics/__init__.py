"""Numbers that compare samples with data: arrays in, numbers out.

Every function raises ValueError, with the offending value and the way out, rather than return a
number that cannot be trusted.
"""
