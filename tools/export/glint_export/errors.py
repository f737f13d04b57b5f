"""What an export refuses."""


class ExportError(Exception):
    """Something in the pipeline that a bundle cannot hold, or an exported file that does not do what it should."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ExportError(message)
