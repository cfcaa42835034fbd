"""Text: tokenizers, corpora by name or from a file, and windows of tokens to train on.

text = chainrule.text.load("everyday")
windows = chainrule.text.TokenWindows(text.train, block_size=32)
"""

from chainrule.text.corpora import CORPORA, CorpusSource, available
from chainrule.text.corpus import TextData, load
from chainrule.text.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer
from chainrule.text.windows import TokenWindows

__all__ = [
    "CORPORA",
    "BPETokenizer",
    "CharTokenizer",
    "CorpusSource",
    "TextData",
    "TokenWindows",
    "Tokenizer",
    "available",
    "load",
    "load_tokenizer",
]
