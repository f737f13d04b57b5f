"""What an export refuses."""


class ExportError(Exception):
    """A pipeline has something a bundle cannot hold, or an exported file does not do what it should."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ExportError(message)
