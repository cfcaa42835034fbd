"""
The next word
=============

"I am going to the bank to deposit some ..." You know how it goes on. How could a network of numbers?

The big language models answer one question over and over: which word comes next? This lesson builds the smallest
model that answers it, trains it in a few seconds on 379 short sentences, asks it that question, lets it talk, and
then asks whether it has understood anything or knows its sentences by heart. Every part of it is one that you have
met.
"""

import numpy as np

from chainrule.first_principles import language
from chainrule.lessons import show
from chainrule.plots import charts

# %%
# What it reads
# -------------
#
# Its library is a file of everyday sentences. Some are about the bank, some about bread, books, the sea.

text = language.CORPUS.read_text(encoding="utf-8")
sentences = text.splitlines()
for sentence in (sentences[18], sentences[26], sentences[2]):
    print(sentence)
everything = text.lower()
print(f"\n{len(sentences)} sentences, and how often they say")
for phrase in ("deposit", "some money", "deposit some"):
    print(f"    {phrase:<13}{everything.count(phrase):3d}")

# %%
# So the answer to our question is not written there. What it says after "deposit some" it has to put together.

# %%
# Words become numbers
# --------------------
#
# A network calculates, so each word needs numbers. We give every word 16 of them, at random, and let it learn better
# ones.
#
# These 16 numbers are the word's **embedding**: a row of a table that is learned like any weight, by its slopes. The
# model looks at the last five words, and the examples cut themselves out of the sentences: five words, and the one
# that really came next. The full stop ends a sentence, and fills the places before its first word.

model = language.NextWord(text)
print(f"{len(model.words) - 1} words and the full stop; {len(model.targets):,} examples")
for i in range(4):
    context = " ".join(model.words[j] for j in model.contexts[i])
    print(f"    {context:<22} → {model.words[model.targets[i]]}")
with np.printoptions(precision=2, suppress=True):
    print("'money' to begin with:", model.weights.embedding[model.index["money"]][:6], "...")

# %%
# The network
# -----------
#
# Five embeddings side by side are 80 numbers. A hidden layer of 64 looks at them, and the output has one score a
# word.
#
# .. math:: x = [E_{w_1}, \dots, E_{w_5}], \qquad h = \tanh(x W^{(1)} + b^{(1)}), \qquad z = h W^{(2)} + b^{(2)}
#
# Softmax, from lesson 11, makes probabilities of the scores, and the loss is cross entropy, how surprised it is by
# the word that really came:
#
# .. math:: p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}, \qquad C = -\ln p_{\text{next}},
#    \qquad \frac{\partial C}{\partial z_i} = p_i - y_i
#
# with :math:`y` 1 for that word and 0 for all others. Each score is pulled by exactly as much as its probability is
# wrong. A loss is easier to read as :math:`e^C`: as unsure as if it had to choose among so many words, all alike.
# This is called the **perplexity**.

QUESTION = "i am going to the bank to deposit some"
chances = language.forward(model.weights, model.contexts)[2]  # (examples, words)
new = language.loss(chances, model.targets)
print(f"{sum(w.size for w in model.weights):,} weights and biases")
print(f"new, its loss is {new:.4f}: as unsure as among {np.exp(new):.0f} words, of {len(model.words)} that it has")
print("its best guesses:", ", ".join(f"{word} {chance:.1%}" for word, chance in model.likeliest(QUESTION)))

# %%
# That is even worse than blind guessing, which would be as unsure as among all its words: the random numbers prefer
# some words, and have no reason to.

# %%
# It learns
# ---------
#
# Twenty epochs, mini-batches of 16, plain gradient descent: lesson 8, with words.

losses = [new, *model.train(20)]
for epoch in (0, 1, 5, 10, 20):
    print(f"after {epoch:2d} epochs: loss {losses[epoch]:.4f}, as unsure as among {np.exp(losses[epoch]):5.1f} words")
labels = {"x_label": "epochs", "y_label": "mean loss, -ln p"}
show(charts.lines({"loss": losses}, range(21), title="It is less and less surprised", **labels))

# %%
# The question
# ------------
#
# Here are its likeliest words, with their probabilities.

for begun in (QUESTION, "she went to the bakery to buy some", "i sat on the bank of the"):
    found = model.likeliest(begun)
    print(f"{begun} ...  " + "  ".join(f"{word} {chance:.1%}" for word, chance in found))
    show(charts.word_probabilities(found, begun))

# %%
# It has never read "deposit some", and says money, from what it has seen around banks, around deposits, and after
# "some". "Bank" has two meanings, and the words beside it decide which: with "sat on the", it is the river's.

# %%
# Let it talk
# -----------
#
# Draw a word by its probability, put it at the end, ask for the next one: that is how a model writes.
#
# The **temperature** T makes it tame or wild. The scores are divided by it before softmax,
#
# .. math:: p_i \propto e^{z_i / T}
#
# (:math:`\propto` means: in proportion to; they are divided by their sum again.) So below 1 the likely words become
# likelier still, and above 1 the unlikely ones get their chance.

library = {" ".join(language.split(sentence)) for sentence in sentences}
for temperature in (0.2, 0.6, 1.0, 2.0):
    print(f"T = {temperature}")
    for seed in range(3):
        said = model.generate(temperature=temperature, seed=seed)
        print(f"    {said}{'   (it has read this)' if said in library else ''}")

# %%
# Tame, it repeats what it has read. Wild, it throws words about. In between it now and then says something new that
# makes sense, and far more often something that does not.

# %%
# Understood, or by heart?
# ------------------------
#
# Lesson 9 kept some images back for an honest mark. Do the same with sentences: let a twin never see 40 of them.
#
# We measure its loss on those that it learns from and, where it knows all the words, on those that it has not seen.

order = np.random.default_rng(0).permutation(len(sentences))
unseen, seen = [[sentences[i] for i in part] for part in (order[:40], order[40:])]
twin = language.NextWord("\n".join(seen))
known = [words for words in map(language.split, unseen) if set(words) <= set(twin.words)]
contexts, targets = language.windows([[twin.index[word] for word in words] for words in known])
print(f"{len(known)} of the 40 unseen sentences have only words that it knows: {len(targets)} examples")

curves = {"sentences it learns from": [], "unseen sentences": []}
for _ in range(20):
    curves["sentences it learns from"] += twin.train(1)
    curves["unseen sentences"].append(language.loss(language.forward(twin.weights, contexts)[2], targets))
best = int(np.argmin(curves["unseen sentences"]))
for epoch in (0, best, 19):
    one, other = (np.exp(values[epoch]) for values in curves.values())
    print(f"epoch {epoch + 1:2d}: as unsure as among {one:5.1f} words where it learned, {other:5.1f} where it did not")
show(charts.lines(curves, title="By heart", x_label="epoch", y_label="mean loss, -ln p"))

# %%
# At first it learns what holds for all sentences, and gets better at those it has not seen. From then on it learns
# *its* sentences by heart, and elsewhere gets worse: overfitting, plain to see. It has 44,955 numbers for 3,336
# examples. The cure is the one thing that we have left out here: more text. Large models read more than a person
# could in a thousand lifetimes.

# %%
# Change one thing
# ----------------
#
# Before you run this: nobody deposits anything at a bakery. Which will be stronger after "some", the bakery or the
# deposit?
#
# Say first what *you* expect. Then try other places: market, river, library, garden.

place = "bakery"  # change me
begun = f"i am going to the {place} to deposit some"
for word, chance in model.likeliest(begun, 6):
    print(f"{begun} {word:<10} {chance:6.1%}")

# %%
# Money still comes first: "deposit some" weighs more here than the bakery. But it is far less sure, and bread and books
# come into the picture. And the model only sees the last five words, which begin just before the place: whether *I* am
# going or *my sister*, it cannot know.

# %%
# Read next
# ---------
#
# This was the last lesson: from y = m x + c to a machine that talks, with nothing in between but sums and the chain
# rule.
#
# The model is ``chainrule.first_principles.language``, after Bengio, Ducharme, Vincent and Jauvin, A Neural
# Probabilistic Language Model (2003). What the large ones have besides size is a way to look back at any earlier word
# that matters: ``chainrule.nn.MultiheadAttention``. And if you want to read the engine itself, begin with
# ``chainrule.autograd.tape``.
