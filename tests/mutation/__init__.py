"""Plausible bugs, put in one at a time: how many of them do the tests see?"""
