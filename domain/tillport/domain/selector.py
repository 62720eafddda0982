"""Read a selector: the text a client sends becomes the tree of `tillport.ports.selector`.

The language so far is the seed's one form, `id = '<transaction id>'`, of each field that is text, with SQL's quoting: a
quote inside the text is doubled.
"""

import re

from tillport.ports.selector import TEXT_FIELDS, Compare, InvalidSelector

MAX_CHARACTERS = 1_000
_EQUALS = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*'((?:[^']|'')*)'\s*")


def parse_selector(text: str) -> Compare:
    """Parse a selector. Raises `InvalidSelector`.

    >>> parse_selector("id = 'ch_1Cmms9I56A1133zjexAcwndb'")
    Compare(field='id', operator='=', value='ch_1Cmms9I56A1133zjexAcwndb')
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidSelector(
            f"The selector is longer than {MAX_CHARACTERS} characters.",
            remedy="Select one transaction: id = 'ch_…'.",
        )
    found = _EQUALS.fullmatch(text)
    if found is None:
        raise InvalidSelector(
            "The selector can't be read.",
            remedy="Write it as id = 'ch_…', with single quotes around the transaction id.",
        )
    if found[1] not in TEXT_FIELDS:
        # Not the tree's own words: what it says of times can't be written in this language.
        raise InvalidSelector(
            f"A selector can't speak of {found[1][:40]!r}.",
            remedy=f"Compare one of {', '.join(sorted(TEXT_FIELDS))} with = and a text in single quotes.",
        )
    return Compare(found[1], "=", found[2].replace("''", "'"))
