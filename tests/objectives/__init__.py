"""Tests of the models, one file each, and of what several of them share."""
