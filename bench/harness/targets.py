"""The figures to reach, each a ratio within one run."""


def check(rows):
    return []
