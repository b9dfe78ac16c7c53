"""python -m jaxgen.report: workdirs -> one page that compares them."""
