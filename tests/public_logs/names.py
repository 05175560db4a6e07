"""Names of columns, written as one text."""


def names(text: str) -> list[str]:
    """The words of a text."""
    return text.split()
