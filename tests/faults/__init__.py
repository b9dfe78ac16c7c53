"""What jaxgen guarantees, each with a test that injects the fault."""
