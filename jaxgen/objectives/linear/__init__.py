"""Models whose likelihood is known, fitted by expectation and maximisation."""
