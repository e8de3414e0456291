"""Names that a user has chosen, as they fit on a screen or above a picture."""


def shortened(name: str, length: int) -> str:
    """``name``, or as much of its beginning and its end as fits in ``length`` characters."""
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"
