"""Words that stand in no English word list: what a spelling check of data goes by.

The list is that of pyspellchecker (`pip install 'amenable[spelling]'`). It knows British and American forms and few names, so
whoever checks brings the names of the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module

from amenable.errors import ConfigError

_WORD = re.compile(r"(?<![\w'])[A-Za-z][A-Za-z]*(?:'[A-Za-z]+)*(?![\w'])")
_ENDINGS = ("'s", "'ll", "'d", "'ve", "'re")
Unknown = Callable[[str], list[str]]


def speller(names: Iterable[str] = ()) -> Unknown:
    """A function from a text to its unknown words. names: words that are right, too, in whatever case they stand.

    Raises ConfigError if pyspellchecker is not installed.
    """
    try:
        module = import_module("spellchecker")
    except ImportError as error:
        raise ConfigError(
            "spelling needs the package pyspellchecker", mend="pip install 'amenable[spelling]'"
        ) from error
    known = module.SpellChecker(language="en", distance=1)
    right = {name.lower() for name in names}

    def is_known(word: str) -> bool:
        word = word.lower()
        stem = next((word.removesuffix(e) for e in _ENDINGS if word.endswith(e)), word)
        return len(stem) == 1 or bool({word, stem} & right) or word in known or stem in known

    return lambda text: [w for w in _WORD.findall(text.replace("’", "'")) if not is_known(w)]
