"""
Attention
=========

In "the muddy river bank", *river* decides what *bank* means. How can a network know which word to look at?

:Lesson:`the-next-word`'s model joined the last five words to one long row of numbers, and had separate weights for each
position. A word that moves one place to the left was a new input, and a word six places back did not exist.
**Attention** has neither limit. Each word looks back at all the others, gives each a weight, and takes the weighted
average. The weights are not fixed: they are computed from the words themselves. We do it for four words by hand, then
with the library, and then let a network learn where to look.

Prerequisites: :lesson:`the-next-word`, :lesson:`learning-better`.
"""

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.lessons import show
from chainrule.plots import charts, grids

# %%
# Four words
# ----------
#
# As in :lesson:`the-next-word`, each word is a few numbers: its embedding. Ours has three, and to keep them readable we
# choose them ourselves.
#
# The first number says how much the word has to do with water, the second how much with money, and the third how
# much its meaning is in doubt. *Bank* has a bit of both, and is the only one in doubt. A network would learn these
# numbers, and they would not have names.

WORDS = ["the", "muddy", "river", "bank"]
VECTORS = {
    "the": [0.0, 0.0, 0.0],
    "muddy": [0.5, 0.0, 0.0],
    "river": [2.0, 0.0, 0.0],
    "savings": [0.0, 2.0, 0.0],
    "bank": [1.0, 1.0, 1.0],
}
x = np.array([VECTORS[word] for word in WORDS])  # (4, 3): a row for each word
print("           water  money  doubt")
for word, row in zip(WORDS, x, strict=True):
    print(f"{word:<9}" + "".join(f"{number:7.1f}" for number in row))

# %%
# The plain average
# -----------------
#
# What would the simplest look back give? All words count the same: the average of the four rows.

print("plain average:", x.mean(axis=0))

# %%
# It works for any number of words, and that is an advantage. But *the* counts as much as *river*: in a sentence of
# twenty words, the one that matters would be a twentieth of the result. We want an average whose weights depend on the
# words.

# %%
# A question, a label, and contents
# ---------------------------------
#
# Each word gets three short rows of numbers. The **query** is the question that it asks the others. The **key** is the
# label that others see of it. The **value** is what they get from it if they look.
#
# Think of a library. You have a question, each book has a label on its spine, and you read those whose labels fit. Each
# of the three is a matrix product, with a matrix that is the same for all words:
#
# .. math:: Q = X W_Q, \qquad K = X W_K, \qquad V = X W_V
#
# Here a row of :math:`X` is a word, so the matrix stands on the right. Our queries have two numbers: "do you know
# anything about water?" and "about money?". A word in doubt asks both questions loudly: that is the last row of
# :math:`W_Q`. The keys answer, and a word in doubt is no help: hence -1 in the last row of :math:`W_K`. The values pass
# on water and money as they are.

W_Q = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (3, 2)
W_K = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])  # (3, 2)
W_V = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])  # (3, 2)
Q, K, V = x @ W_Q, x @ W_K, x @ W_V  # (4, 3) @ (3, 2) = (4, 2), three times
print("           query         key           value")
for word, q, k, v in zip(WORDS, Q, K, V, strict=True):
    print(f"{word:<9}" + "".join(f"{f'({a[0]:.1f}, {a[1]:.1f})':<14}" for a in (q, k, v)))

# %%
# Scores
# ------
#
# How well does a label fit a question? Multiply the two, number by number, and add up.
#
# This is the **dot product**, a weighted sum as in a neuron: large if both have large numbers in the same places. One
# matrix product computes all of them; row :math:`i` and column :math:`j` is how well word :math:`j`'s key fits word
# :math:`i`'s query:
#
# .. math:: S = \frac{Q K^T}{\sqrt{d}}
#
# :math:`d` is how many numbers a query has, here 2. We will see below why the scores are divided by its square root.

d = Q.shape[1]
S = Q @ K.T / np.sqrt(d)  # (4, 2) @ (2, 4) = (4, 4)
for j, word in enumerate(WORDS):
    products = f"{Q[3, 0]:.1f} · {K[j, 0]:.1f} + {Q[3, 1]:.1f} · {K[j, 1]:.1f} = {Q[3] @ K[j]:.1f}"
    print(f"bank asks {word + ':':<7} {products}, divided by √2: {S[3, j]:.4f}")

# %%
# Weights
# -------
#
# Softmax, from :lesson:`learning-better`, turns the four scores into weights that are positive and add up to
# 1.
#
# .. math:: A_{ij} = \frac{e^{S_{ij}}}{\sum_k e^{S_{ik}}}

powers = np.exp(S[3])
print("e to the power of the scores:", "  ".join(f"{word} {p:.4f}" for word, p in zip(WORDS, powers, strict=True)))
print(f"their sum: {powers.sum():.4f}")
weights_of_bank = powers / powers.sum()
print("weights:", "  ".join(f"{word} {w:.4f}" for word, w in zip(WORDS, weights_of_bank, strict=True)))
print(f"their sum: {weights_of_bank.sum():.4f}")

# %%
# *Bank* looks at *river* with four fifths of its weight, and the rest is spread over the others. No weight is ever
# exactly 0: attention is a soft choice. That is why it can learn. A hard choice ("take the best") would not
# change at all when a score is nudged: its slope is 0, and gradient descent needs a slope.

# %%
# The weighted average
# --------------------
#
# What *bank* gets is the average of all values with these weights.
#
# .. math:: \text{out}_i = \sum_j A_{ij} V_j

for word, weight, value in zip(WORDS, weights_of_bank, V, strict=True):
    print(f"{weight:.4f} · ({value[0]:.1f}, {value[1]:.1f}) from {word}")
out_of_bank = weights_of_bank @ V  # (4,) @ (4, 2) = (2,)
print(f"sum: ({out_of_bank[0]:.4f}, {out_of_bank[1]:.4f}) for water and money")
print(f"added to bank's own: ({x[3, 0] + out_of_bank[0]:.4f}, {x[3, 1] + out_of_bank[1]:.4f})")

# %%
# *Bank* began with as much water as money. Now it has far more water: it has become the bank of a river. In a large
# model the next layer works with this new row of numbers, and so on for many layers.

# %%
# No peeking
# ----------
#
# A model that predicts the next word must not look at it. So a word may look at itself and at the words before it, but
# at none after it.
#
# This is the **mask**: scores above the diagonal, which belong to later words, are replaced by minus infinity before
# softmax. As :math:`e^{-\infty} = 0`, those weights are exactly 0, and the others still add up to 1. With it, one pass
# trains on all positions of a sentence at once: each word predicts the next one and cannot cheat.

mask = np.triu(np.ones((4, 4), dtype=bool), k=1)  # True above the diagonal
masked = np.where(mask, -np.inf, S)


def softmax(scores):
    """Turn each row of scores into weights that add up to 1."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))  # the same weights, and no number too large for e
    return powers / powers.sum(axis=-1, keepdims=True)


A = softmax(masked)  # (4, 4)
with np.printoptions(precision=4, suppress=True):
    print("scores, masked:", masked, sep="\n")
    print("weights:", A, sep="\n")
looks = {"rows": ("the word", WORDS), "columns": ("looks at", WORDS)}
show(grids.number_grids([("weights A", A), ("values V", V), ("out = A V", A @ V)], "Who looks at whom", **looks))

# %%
# Each row is a word, and adds up to 1. The first word can only look at itself. The upper triangle is empty, and the
# last row is the one that we did by hand: nothing comes after *bank*, so nothing was hidden from it.

# %%
# The same with the library
# -------------------------
#
# The whole of attention is one line of mathematics, and one function of the library.
#
# .. math:: \text{Attention}(Q, K, V) = \text{softmax}\!\left( \frac{Q K^T}{\sqrt{d}} + \text{mask} \right) V
#
# The three matrices are weights like any others: the tape of :lesson:`your-own-tape` carries slopes back to them. We
# check the slope of one number (how much more water than money *bank* ends up with) in all six numbers of :math:`W_Q`,
# by a nudge to each.

tensors = [cr.tensor(matrix, requires_grad=True) for matrix in (W_Q, W_K, W_V)]
queries, keys, values = (cr.tensor(x) @ matrix for matrix in tensors)
out = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)  # (4, 2)
same = np.allclose(out.detach().numpy(), A @ V, rtol=0, atol=1e-12)
print(f"the library's out is that by hand, to twelve decimals: {same}")

(out[3, 0] - out[3, 1]).backward()
slopes = tensors[0].grad.numpy()  # (3, 2)
nudge, measured = 1e-6, np.zeros((3, 2))
for index in np.ndindex(3, 2):
    sides = []
    for sign in (1, -1):
        nudged = W_Q.copy()
        nudged[index] += sign * nudge
        bank = softmax((x[3] @ nudged) @ K.T / np.sqrt(d)) @ V  # the last word sees all
        sides.append(bank[0] - bank[1])
    measured[index] = (sides[0] - sides[1]) / (2 * nudge)
with np.printoptions(precision=4, suppress=True):
    print("slopes in W_Q, from the tape:", slopes, "by nudging:", measured, sep="\n")
print(f"they agree to eight decimals: {np.abs(slopes - measured).max() < 1e-8}")

# %%
# A slope is what comes back along the wire times the number that it carried (equation 2 of :lesson:`backpropagation`).
# *Bank*'s three numbers are all 1, so the three rows are equal. The second column is 0: no label before *bank* says
# anything about money, so a louder question about it changes nothing.

# %%
# Why divide by the square root?
# ------------------------------
#
# A dot product adds up d products. The more there are, the larger the sum, and softmax of large scores is nearly a hard
# choice.
#
# If the numbers of query and key are random with mean 0 and variance 1, each product has the variance 1, and the sum of
# :math:`d` of them has the variance :math:`d` (variances of independent numbers add up). Its typical size is
# :math:`\sqrt d`. Dividing by it brings the scores back to 1, whatever :math:`d` is.

random = np.random.default_rng(0)
print("  d   typical score   largest of 8 weights   with √d: typical score   largest of 8 weights")
for size in (2, 16, 256):
    q, k = random.normal(size=(500, 1, size)), random.normal(size=(500, 8, size))
    scores = (q * k).sum(axis=2)  # (500, 8): 500 queries, each with 8 keys
    line = f"{size:3d}   {scores.std():13.2f}   {softmax(scores).max(axis=1).mean():20.2f}"
    scaled = scores / np.sqrt(size)
    print(f"{line}   {scaled.std():22.2f}   {softmax(scaled).max(axis=1).mean():20.2f}")

# %%
# With 256 numbers and no root, one word of eight gets almost everything before anything has been learned. Where softmax
# gives 1 it is flat, and the slopes vanish, as in a sigmoid that is far from 0 (:lesson:`vanishing-gradients`).

# %%
# Order is not seen
# -----------------
#
# If we shuffle the words before *bank*, does *bank* notice?

shuffled = x[[2, 0, 1, 3]]  # river, the, muddy, bank
again = softmax(shuffled[3] @ W_Q @ (shuffled @ W_K).T / np.sqrt(d)) @ (shuffled @ W_V)
print(f"in order: ({out_of_bank[0]:.4f}, {out_of_bank[1]:.4f}), shuffled: ({again[0]:.4f}, {again[1]:.4f})")

# %%
# It does not. Attention sees a bag of words: to a word that follows, "dog bites man" and "man bites dog" would be the
# same. The remedy is easy: add to each word's numbers some numbers for its position. :Lesson:`a-small-gpt` does.

# %%
# It learns where to look
# -----------------------
#
# So far we chose the three matrices. Can they be learned? Here is a task that needs them: a telephone book.
#
# Four people of eight are listed in random order, each with a random digit from 0 to 9. Then one of them is asked for.
# An entry is 18 numbers: a 1 at the person's place among eight, a 1 at the digit's place among ten, and 0 elsewhere.
# The question has the person only. The values have ten numbers, which serve directly as scores of the ten digits. The
# loss is cross entropy, and the slopes come from the tape.
#
# For comparison, a second network gets the plain average of the four entries instead, next to the question, and has 64
# hidden neurons to make something of it.

PEOPLE = ["Ann", "Bob", "Cem", "Dia", "Eve", "Fay", "Gus", "Hal"]
random = np.random.default_rng(1)


def telephone_books(count):
    """Entries (count, 4, 18), questions (count, 18), the place of the one asked for and its digit, (count,) each."""
    people = random.permuted(np.tile(np.arange(8), (count, 1)), axis=1)[:, :4]
    digits = random.integers(0, 10, (count, 4))
    entries = np.concatenate([np.eye(8)[people], np.eye(10)[digits]], axis=2)
    asked, rows = random.integers(0, 4, count), np.arange(count)
    questions = np.concatenate([np.eye(8)[people[rows, asked]], np.zeros((count, 10))], axis=1)
    return entries, questions, asked, digits[rows, asked]


def weight(rows, columns):
    """A matrix of small random weights to learn."""
    return cr.tensor(random.normal(0, rows**-0.5, (rows, columns)), requires_grad=True)


attention_weights = [weight(18, 8), weight(18, 8), weight(18, 10)]  # W_Q, W_K and W_V
average_weights = [weight(36, 64), weight(64, 10)]


def by_attention(entries, questions):
    """Scores of the ten digits, (N, 10): the question looks at the four entries."""
    wq, wk, wv = attention_weights
    query = (cr.tensor(questions) @ wq).unsqueeze(1)  # (N, 1, 8)
    return nn.functional.scaled_dot_product_attention(query, cr.tensor(entries) @ wk, cr.tensor(entries) @ wv)[:, 0]


def by_average(entries, questions):
    """The same from the plain average of the entries, through a hidden layer."""
    both = np.concatenate([entries.mean(axis=1), questions], axis=1)  # (N, 36)
    return cr.relu(cr.tensor(both) @ average_weights[0]) @ average_weights[1]


exam = telephone_books(1000)
for name, answer, weights in (
    ("attention", by_attention, attention_weights),
    ("plain average", by_average, average_weights),
):
    optimizer = optim.Adam(weights, lr=0.03)
    reads = []
    for step in range(601):
        if step in (0, 100, 600):
            with cr.no_grad():
                scores = answer(*exam[:2]).numpy()  # (1000, 10)
            if not np.isfinite(scores).all():
                raise ValueError("the network has diverged, its scores are not finite; try a smaller learning rate")
            reads.append(f"{np.mean(scores.argmax(axis=1) == exam[3]):6.1%}")
        entries, questions, _, digits = telephone_books(64)
        loss = nn.functional.cross_entropy(answer(entries, questions), cr.tensor(digits))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{name:<14} right before learning {reads[0]}, after 100 steps {reads[1]}, after 600 {reads[2]}")

blind = np.mean((exam[0][:, :, 8:].argmax(axis=2) == exam[3][:, None]).mean(axis=1))
print(f"to say the digit of any of the four would be right {blind:.1%} of the time")
wq, wk = (matrix.detach().numpy() for matrix in attention_weights[:2])
entries, questions, asked, _ = exam
fit = ((questions @ wq)[:, None] * (entries @ wk)).sum(axis=2)  # (1000, 4): a dot product with each of four keys
looked = softmax(fit / np.sqrt(8))
print(f"mean weight on the entry that was asked for: {looked[np.arange(1000), asked].mean():.3f}")

fits = wq[:8] @ wk[:8].T / np.sqrt(8)  # (8, 8): how well each person's key fits each person's query
people = {"rows": ("asked for", PEOPLE), "columns": ("label of the entry", PEOPLE)}
show(grids.number_grids([("scores", fits)], "What the queries and keys have learned", decimals=1, **people))

# %%
# The diagonal is large and the rest is not: each person's query fits their own key. Nobody told the network to compare
# names. It found out, because the slopes of the loss pointed there. With the average it can only know *which* digits
# are in the book, not whose they are, and is hardly better than somebody who says any of the four. (That is right more
# than a quarter of the time, because two people may have the same digit.)
#
# This is what attention can do and a sum of fixed weights cannot: what is multiplied with what depends on the input.

# %%
# Change one thing
# ----------------
#
# Before you run this: "the old savings bank". None of the three matrices changes, only two words. What will *bank* get
# from them, and how much water is left?
#
# *Old* has nothing to do with water or money: its numbers are 0. Then try "river savings bank", and put ten more words
# between *savings* and *bank*.

sentence = "the old savings bank"  # change me
rows = np.array([VECTORS.get(word, [0.0, 0.0, 0.0]) for word in sentence.split()])
looked = softmax(rows[-1] @ W_Q @ (rows @ W_K).T / np.sqrt(d))
got = looked @ (rows @ W_V)
print("weights:", "  ".join(f"{word} {w:.4f}" for word, w in zip(sentence.split(), looked, strict=True)))
print(f"got ({got[0]:.4f}, {got[1]:.4f}) for water and money")
labels = [(word, float(w)) for word, w in zip(sentence.split(), looked, strict=True)]
figure = charts.word_probabilities(labels, sentence, "What the last word looks at")
figure.axes[0].set(xlabel="weight (%)", ylabel="word")
show(figure)

# %%
# The same three matrices, and *bank* has become a place for money. The meaning was not in the word. It came from the
# word that it looked at, and it would have come from ten places further back as well, with a somewhat smaller weight.

# %%
# Read next
# ---------
#
# :Lesson:`a-small-gpt` puts attention into blocks, stacks the blocks, and lets the result write names.
#
# Several attentions side by side, each with its own three matrices, are called heads: one may look for the subject,
# another for the verb. They are in ``chainrule.nn.MultiheadAttention``; the function used here is
# ``chainrule.nn.functional.scaled_dot_product_attention``. Attention of this form is from Vaswani and others, Attention
# is all you need (2017); an earlier form is in Bahdanau, Cho and Bengio, Neural machine translation by jointly learning
# to align and translate (2014).
