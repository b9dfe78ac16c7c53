"""python -m jaxgen.theory: what the theory says of the models, held against measurements."""
