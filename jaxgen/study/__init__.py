"""python -m jaxgen.study: a grid of runs -> one table with deviations, and one page of plots."""
