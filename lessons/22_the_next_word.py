"""
The next word
=============

"I am going to the bank to deposit some ..." You know how it continues. How could a network of numbers know?

Large language models answer one question over and over: which word comes next? This lesson builds the smallest model
that answers it, trains it in a few seconds on 379 short sentences, asks it that question, lets it write, and then asks
whether it has understood anything or just knows its sentences by heart. You have already met all of its parts.

Prerequisites: :lesson:`the-network-reads-digits`, :lesson:`learning-better`.
"""

import numpy as np

from chainrule.first_principles import language
from chainrule.lessons import show
from chainrule.plots import charts

# %%
# What it reads
# -------------
#
# The corpus is a file of everyday sentences. Some are about the bank, some about bread, books, the sea.

text = language.CORPUS.read_text(encoding="utf-8")
sentences = text.splitlines()
for sentence in (sentences[18], sentences[26], sentences[2]):
    print(sentence)
everything = text.lower()
print(f"\n{len(sentences)} sentences, and how often they say")
for phrase in ("deposit", "some money", "deposit some"):
    print(f"    {phrase:<13}{everything.count(phrase):3d}")

# %%
# So the answer to our question is not in the corpus. The model has to infer what follows "deposit some".

# %%
# Words become numbers
# --------------------
#
# A network calculates, so each word needs numbers. We give every word 16 random ones, and let the network learn better
# ones.
#
# These 16 numbers are the word's **embedding**: a row of a table that is learned like any weight, by its slopes. The
# model looks at the last five words, so each example consists of five consecutive words and the word that followed. The
# period ends a sentence, and fills the positions before its first word.

model = language.NextWord(text)
print(f"{len(model.words) - 1} words and the period; {len(model.targets):,} examples")
for i in range(4):
    context = " ".join(model.words[j] for j in model.contexts[i])
    print(f"    {context:<22} → {model.words[model.targets[i]]}")
with np.printoptions(precision=2, suppress=True):
    print("'money' to begin with:", model.weights.embedding[model.index["money"]][:6], "...")

# %%
# The network
# -----------
#
# Five concatenated embeddings are 80 numbers. A hidden layer of 64 neurons looks at them, and the output has one score
# per word.
#
# .. math:: x = [E_{w_1}, \dots, E_{w_5}], \qquad h = \tanh(x W^{(1)} + b^{(1)}), \qquad z = h W^{(2)} + b^{(2)}
#
# The inputs are a row here, not a column, so the matrices stand on its right. Softmax, from :lesson:`learning-better`,
# turns the scores into probabilities, and the loss is cross entropy, which measures how surprising the actual next word
# is:
#
# .. math:: p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}, \qquad C = -\ln p_{\text{next}},
#    \qquad \frac{\partial C}{\partial z_i} = p_i - y_i
#
# with :math:`y` 1 for that word and 0 for all others, as in :lesson:`learning-better`. Each score is corrected by
# exactly the error of its probability. A loss is easier to interpret as :math:`e^C`: the model is as unsure as if it
# had to choose among that many equally likely words. This is called the **perplexity**.

QUESTION = "i am going to the bank to deposit some"
chances = language.forward(model.weights, model.contexts)[2]  # (examples, words)
new = language.loss(chances, model.targets)
print(f"{sum(w.size for w in model.weights):,} weights and biases")
print(f"new, its loss is {new:.4f}: as unsure as among {np.exp(new):.0f} words, of {len(model.words)} that it has")
print("its best guesses:", ", ".join(f"{word} {chance:.1%}" for word, chance in model.likeliest(QUESTION)))

# %%
# That is even worse than blind guessing, which would be as unsure as among all its words: the random weights prefer
# some words for no reason.

# %%
# It learns
# ---------
#
# Twenty epochs, mini-batches of 16, plain gradient descent, as in :lesson:`stochastic-gradient-descent`.

losses = [new, *model.train(20)]
for epoch in (0, 1, 5, 10, 20):
    print(f"after {epoch:2d} epochs: loss {losses[epoch]:.4f}, as unsure as among {np.exp(losses[epoch]):5.1f} words")
labels = {"x_label": "epochs", "y_label": "mean loss, -ln p"}
show(charts.lines({"loss": losses}, range(21), title="It is less and less surprised", **labels))

# %%
# The question
# ------------
#
# Here are its most probable words, with their probabilities.

for prompt in (QUESTION, "she went to the bakery to buy some", "i sat on the bank of the"):
    likeliest = model.likeliest(prompt)
    print(f"{prompt} ...  " + "  ".join(f"{word} {chance:.1%}" for word, chance in likeliest))
    show(charts.word_probabilities(likeliest, prompt))

# %%
# It has never read "deposit some", but answers money, from what it has seen around banks, around deposits, and after
# "some". "Bank" has two meanings, and the words around it decide which: after "sat on the", it is the river's.

# %%
# Let it write
# ------------
#
# Draw a word by its probability, append it, ask for the next one: that is how a model writes.
#
# The **temperature** T controls the randomness. The scores are divided by it before softmax,
#
# .. math:: p_i \propto e^{z_i / T}
#
# (:math:`\propto` means "proportional to"; the results are divided by their sum again.) Below 1 the likely words become
# even likelier, and above 1 the unlikely ones get a better chance.

library = {" ".join(language.split(sentence)) for sentence in sentences}
for temperature in (0.2, 0.6, 1.0, 2.0):
    print(f"T = {temperature}")
    for seed in range(3):
        said = model.generate(temperature=temperature, seed=seed)
        print(f"    {said}{'   (it has read this)' if said in library else ''}")

# %%
# At a low temperature it repeats what it has read. At a high one it writes random words. In between it makes up new
# sentences, few of which make sense.

# %%
# Understood, or by heart?
# ------------------------
#
# :Lesson:`the-network-reads-digits` held out some images for an honest grade. We do the same with sentences: a second
# model never sees 40 of them.
#
# We measure its loss on the sentences that it learns from and, if it knows all their words, on the unseen ones.

order = np.random.default_rng(0).permutation(len(sentences))
unseen, seen = [[sentences[i] for i in part] for part in (order[:40], order[40:])]
twin = language.NextWord("\n".join(seen))
readable = [words for words in map(language.split, unseen) if set(words) <= set(twin.words)]
contexts, targets = language.windows([[twin.index[word] for word in words] for words in readable])
print(f"{len(readable)} of the 40 unseen sentences have only words that it knows: {len(targets)} examples")

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
# At first it learns what is true of all sentences, and gets better at the unseen ones. From then on it learns *its*
# sentences by heart, and gets worse at the others: a clear case of overfitting. The first model has 44,955 numbers for
# 3,336 examples, and this one is no better off. The remedy is the one thing that we have left out here: more text.
# Large models read more than a person could in a thousand lifetimes.

# %%
# Change one thing
# ----------------
#
# Before you run this: nobody deposits anything at a bakery. Which will be stronger after "some", the bakery or the
# deposit?
#
# Decide first what *you* expect. Then try other places: market, river, library, garden.

destination = "bakery"  # change me
prompt = f"i am going to the {destination} to deposit some"
for word, chance in model.likeliest(prompt, 6):
    print(f"{prompt} {word:<10} {chance:6.1%}")

# %%
# Money still comes first: "deposit some" weighs more here than the bakery. But it is far less certain, and books and
# bread become more likely. And the model only sees the last five words, which start right before the destination: it
# cannot know whether *I* am going or *my sister*.

# %%
# Read next
# ---------
#
# This model sees five words. :Lesson:`attention` lets a word look back at any earlier one that matters.
#
# The model is ``chainrule.first_principles.language``, after Bengio, Ducharme, Vincent and Jauvin, A Neural
# Probabilistic Language Model (2003). The command ``chainrule say "i am going to the bank to"`` asks it for the rest of
# a sentence. The command ``chainrule train --model gpt --data everyday`` trains a different kind of model on these
# sentences, letter by letter: :lesson:`a-small-gpt` is about that kind.
