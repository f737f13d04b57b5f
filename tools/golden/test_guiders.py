"""The stored guidance is what the pinned diffusers produces today."""

from guiders import problems


def test_guidance_is_reproduced() -> None:
    assert problems() == []
