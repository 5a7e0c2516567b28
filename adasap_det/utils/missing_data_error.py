"""The error that the command-line tools report like a wrong option."""


class MissingDataError(FileNotFoundError):
    """A data file or folder of the config does not exist."""
