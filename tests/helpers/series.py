"""Series of random cases, whose length depends on the profile that is loaded."""

from hypothesis import settings


def cases(count, **changes):
    """Settings of a test with so many cases in the short series, and more in the long one."""
    return settings(max_examples=count * settings.default.max_examples // 100, **changes)
