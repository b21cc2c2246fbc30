"""What arguments of many functions are asked."""


def check_whole(least: int = 1, **values: object) -> None:
    """Whether named values are whole numbers, none below ``least``.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            fix = f" (use int({value!r}))" if isinstance(value, float) and value >= least else ""
            raise ValueError(
                f"`{name}` must be a whole number of at least {least}, got {value!r}{fix}"
            )
