"""Why a file cannot be rewritten page by page. The caller then rewrites it whole."""


class Unsuitable(Exception):
    """The file is not of the one form that is rewritten page by page. It may be in order all the same."""
