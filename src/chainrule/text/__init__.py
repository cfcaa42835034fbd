"""Text: tokenizers, corpora by name or from a file, windows of tokens for training, and generation.

A text is loaded as tokens, and windows of its tokens are the examples to train on:

    import chainrule

    text = chainrule.text.load("everyday")
    windows = chainrule.text.TokenWindows(text.train, block_size=32)
    len(windows)  # 13028
"""

from chainrule.text.corpora import CORPORA, CorpusSource, available
from chainrule.text.corpus import TextData, load
from chainrule.text.generation import Sampler, generate, generate_batch
from chainrule.text.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, decode_stream, load_tokenizer
from chainrule.text.windows import TokenWindows
from chainrule.text.words import WordTokenizer

__all__ = [
    "CORPORA",
    "BPETokenizer",
    "CharTokenizer",
    "CorpusSource",
    "Sampler",
    "TextData",
    "TokenWindows",
    "Tokenizer",
    "WordTokenizer",
    "available",
    "decode_stream",
    "generate",
    "generate_batch",
    "load",
    "load_tokenizer",
]
