"""
A small GPT
===========

What is inside the models that write? Is it something new, or do we have all of its parts?

We have all of them: embeddings and the next word (:lesson:`the-next-word`), attention (:lesson:`attention`), hidden
layers, shortcuts and normalization (:lesson:`deeper-networks`), cross entropy, Adam. This lesson puts them together in
the order that made history, computes one by hand, trains it in a few seconds, and lets it write first names, letter by
letter. (GPT is short for generative pre-trained transformer; a transformer is a stack of attention and hidden layers.)
Then it looks at what such a model cannot do.

Prerequisites: :lesson:`the-next-word`, :lesson:`attention`, :lesson:`deeper-networks`.
"""

import numpy as np

import chainrule
from chainrule import nn, optim, text
from chainrule.capture import jit
from chainrule.lessons import optional, show
from chainrule.models import GPT, GPTConfig
from chainrule.plots import charts, grids

# %%
# What it reads
# -------------
#
# The corpus is a list of 5,163 first names, as counted in the USA in 1990. A name is a text whose words are letters.
#
# 500 names are held out for an honest grade, as in :lesson:`the-network-reads-digits`; from the others it learns. Each
# name begins and ends with a period. From every beginning of a name, the model is to predict the next letter. One name
# gives as many examples as it has letters, and one more for the end. (The names come with the package ``names``;
# without it, the lesson continues with the words of :lesson:`the-next-word`'s sentences.)

if optional("names", "corpora") is not None:
    names = text.CORPORA["names"].read().lower().split()
else:
    sentences = text.CORPORA["everyday"].read().lower()
    names = sorted({word for word in sentences.replace(".", " ").split() if word.isalpha() and word.isascii()})
LETTERS = ".abcdefghijklmnopqrstuvwxyz"
LENGTH = max(map(len, names)) + 1  # of the longest name, and its period
random = np.random.default_rng(0)
order = random.permutation(len(names))
held_out = min(500, len(names) // 5)
unseen, seen = [names[i] for i in order[:held_out]], [names[i] for i in order[held_out:]]


def encode(words):
    """Letters as numbers, (N, LENGTH), and the letter that follows each; -100, which does not count, after the end."""
    letters = np.zeros((len(words), LENGTH + 1), np.int64)
    following = np.full((len(words), LENGTH), -100)
    for row, word in enumerate(words):
        letters[row, 1 : 1 + len(word)] = [LETTERS.index(letter) for letter in word]
        following[row, : len(word) + 1] = letters[row, 1 : len(word) + 2]
    return letters[:, :-1], following


x, y = encode(seen)
exam_x, exam_y = encode(unseen)
print(f"{len(seen):,} names to learn from, such as {', '.join(seen[:5])}; {len(unseen)} held out")
print(f"the longest has {LENGTH - 1} letters; {np.sum(y >= 0):,} examples")
print(f"the examples in {seen[0]}:")
for i in range(len(seen[0]) + 1):
    print(f"    {'.' + seen[0][:i]:<{LENGTH}} → {LETTERS[y[0, i]]}")

# %%
# What one letter knows
# ---------------------
#
# First the simplest model, to have something to beat. It looks at the last letter only, and has counted what follows
# it.
#
# A table of 27 × 27 counts, divided by the sum of each row, is a model of the next letter: a **bigram** model, because
# it knows pairs. (Each count begins at 1, so that no pair is impossible.) Its loss is the mean of :math:`-\ln p`, as in
# :lesson:`the-next-word`, and :math:`e` to the power of it is the perplexity: it is as unsure as among that many
# equally likely letters.

counts = np.ones((27, 27))
np.add.at(counts, (x[y >= 0], y[y >= 0]), 1)
pairs = counts / counts.sum(axis=1, keepdims=True)  # each row adds up to 1
bigram = -np.log(pairs[exam_x[exam_y >= 0], exam_y[exam_y >= 0]]).mean()
follow_q = np.argsort(-pairs[LETTERS.index("q")], kind="stable")[:3]
print("after q comes", ", ".join(f"{LETTERS[i]} {pairs[LETTERS.index('q'), i]:.0%}" for i in follow_q))
print(f"loss on the held-out names {bigram:.4f}: as unsure as among {np.exp(bigram):.1f} letters, of 27 that there are")


def draw(probabilities):
    """Draw a column for each row of probabilities, (N, 27)."""
    return (probabilities.cumsum(axis=1) > random.random((len(probabilities), 1))).argmax(axis=1)


def as_words(letters):
    """Rows of letters as words, up to the first period."""
    return ["".join(LETTERS[i] for i in row).split(".")[0] for row in letters]


letters = np.zeros((200, 1), np.int64)
for _ in range(LENGTH):
    letters = np.concatenate([letters, draw(pairs[letters[:, -1]])[:, None]], axis=1)
print("it writes:", ", ".join(word for word in as_words(letters[:, 1:]) if word)[:100])

# %%
# It knows that q likes u, but at the end of a name it has long forgotten the beginning.

# %%
# The parts
# ---------
#
# A GPT is a row of vectors, one for each letter, that every layer adds something to.
#
# The drawing below shows the way from the letters to the scores; line by line:
#
# - The embedding gives each letter 32 numbers, to be learned. A second table gives each *position* 32 numbers, and both
#   are added. Without them a layer of attention could not tell *amy* from *may* (:lesson:`attention`).
# - Attention lets each letter look back at the earlier ones, with the mask of :lesson:`attention`. It has two
#   **heads**: two attentions side by side, with 16 numbers each, whose results are joined and multiplied by a matrix.
# - The hidden layer has 128 neurons and works on each letter by itself: attention gathers, the hidden layer works on
#   what was gathered. Its activation is GELU, a rounded ReLU.
# - Both are added to what they were given. These shortcuts, the residual connections, let the slopes through to the
#   first layer (:lesson:`deeper-networks`).
# - Normalize means: subtract the mean of a letter's 32 numbers, divide by their standard deviation, then multiply each
#   by a learned number and add another. So sums neither grow nor shrink from layer to layer. It is
#   **layer normalization**: :lesson:`deeper-networks`'s batch normalization takes the mean over the examples, this one
#   over the 32 numbers.
# - The scores are the dot products of a letter's last 32 numbers with the 27 embeddings themselves: the table that
#   turns letters into numbers also turns numbers into letters.

print("""
    letters ──▶ embedding of the letter + embedding of its position
                      │
                      ├──▶ normalize ──▶ attention ─────┐
                      + ◀───────────────────────────────┘    a block;
                      ├──▶ normalize ──▶ hidden layer ──┐    ours has two
                      + ◀───────────────────────────────┘
                      │
                  normalize ──▶ 27 scores for each letter ──▶ softmax
""")
config = GPTConfig(vocab_size=27, block_size=LENGTH, layers=2, heads=2, width=32)
model = GPT(config, generator=np.random.default_rng(0))
sizes = {}
for name, parameter in model.named_parameters():
    part = ".".join(name.split(".")[2 if name.startswith("blocks") else 0 :]).rsplit(".", 1)[0]
    sizes[part] = sizes.get(part, 0) + parameter.numel()
for part, size in sizes.items():
    print(f"{part:<26}{size:7,}")
print(f"{'together':<26}{sum(sizes.values()):7,} weights and biases, the parts of both blocks added up")

# %%
# The whole of it, by hand
# ------------------------
#
# Here is the complete forward pass in NumPy, to show that nothing is hidden: the model of the library must give the
# same scores.
#
# ``qkv`` is the three matrices of :lesson:`attention` in one, and the matrices are transposed, as is usual in PyTorch's
# layers: hence the ``.T``. The values are called ``u``, because ``v`` is taken. ``@`` multiplies the matrices in the
# last two axes, for each name and head.


def by_hand(letters, attention_seen=None):
    """Scores of the next letter, (N, T, 27), for letters (N, T)."""
    p = {name: weight.numpy() for name, weight in model.state_dict().items()}
    count, length = letters.shape
    mask = np.triu(np.full((length, length), -np.inf), k=1)  # minus infinity above the diagonal, 0 elsewhere

    def normalize(v, name):
        v = (v - v.mean(axis=-1, keepdims=True)) / np.sqrt(v.var(axis=-1, keepdims=True) + 1e-5)
        return v * p[f"{name}.weight"] + p[f"{name}.bias"]

    def layer(v, name):
        return v @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    v = p["token_embedding.weight"][letters] + p["position_embedding.weight"][:length]  # (N, T, 32)
    for block in ("blocks.0", "blocks.1"):
        qkv = layer(normalize(v, f"{block}.norm1"), f"{block}.attention.qkv")  # (N, T, 96)
        q, k, u = qkv.reshape(count, length, 3, 2, 16).transpose(2, 0, 3, 1, 4)  # each (N, 2 heads, T, 16)
        powers = np.exp(q @ k.swapaxes(2, 3) / np.sqrt(16) + mask)  # (N, 2, T, T)
        weights = powers / powers.sum(axis=3, keepdims=True)
        joined = (weights @ u).transpose(0, 2, 1, 3).reshape(count, length, 32)
        v = v + layer(joined, f"{block}.attention.projection")
        hidden = layer(normalize(v, f"{block}.norm2"), f"{block}.feed_forward.up")  # (N, T, 128)
        hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))  # GELU, nearly
        v = v + layer(hidden, f"{block}.feed_forward.projection")
        if attention_seen is not None:
            attention_seen.append(weights)
    return normalize(v, "norm") @ p["token_embedding.weight"].T


def scores(letters):
    """The library's scores, (N, T, 27)."""
    with chainrule.no_grad():
        return model(chainrule.from_numpy(letters)).numpy()


def same():
    """Whether the scores by hand are the library's, up to the rounding of numbers with seven digits (float32)."""
    return np.allclose(by_hand(exam_x), scores(exam_x), rtol=0, atol=1e-4)


print("by hand and by the library, the same scores:", same())


def loss_of(letters, following):
    """The mean of -ln p over the letters that follow."""
    z = scores(letters).astype(float)
    z -= z.max(axis=2, keepdims=True)
    logs = z - np.log(np.exp(z).sum(axis=2, keepdims=True))  # ln p, (N, T, 27)
    counted = following >= 0
    value = -logs[counted, following[counted]].mean()
    if not np.isfinite(value):
        raise ValueError("the network has diverged, its loss is not finite; try a smaller learning rate")
    return value


print(f"new, its loss is {loss_of(exam_x, exam_y):.4f}; blind guessing among 27 has ln 27 = {np.log(27):.4f}")

# %%
# It learns
# ---------
#
# 500 steps with 64 names each. The loss of the next letter is cross entropy, the optimizer AdamW, which is Adam
# (:lesson:`optimizers`) with weight decay; ``jit`` compiles the step, as in :lesson:`four-ways`.
#
# Every position of every name is an example in the same pass: that is what the mask is for.

cross_entropy = nn.CrossEntropyLoss()  # leaves out what follows as -100
optimizer = optim.AdamW(model.parameters(), lr=0.005, weight_decay=0.01)


@jit
def step(letters, following):
    loss = cross_entropy(model(letters).reshape(-1, 27), following.reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


losses = {"held-out names": [loss_of(exam_x, exam_y)]}
for number in range(1, 501):
    chosen = random.integers(0, len(seen), 64)
    step(chainrule.from_numpy(x[chosen]), chainrule.from_numpy(y[chosen]))
    if number % 50 == 0:
        losses["held-out names"].append(loss_of(exam_x, exam_y))
for steps in (0, 100, 250, 500):
    value = losses["held-out names"][steps // 50]
    print(f"after {steps:3d} steps: loss {value:.4f}, as unsure as among {np.exp(value):4.1f} letters")
learned = losses["held-out names"][-1]
print(f"the table of pairs: {bigram:.4f}; the GPT: {learned:.4f}; on names it learned from: {loss_of(x, y):.4f}")
print("by hand and by the library, still the same scores:", same())

curves = losses | {"table of pairs": [bigram] * 11}
labels = {"x_label": "steps", "y_label": "mean loss, -ln p"}
show(charts.lines(curves, range(0, 501, 50), title="It passes the table of pairs", **labels))

# %%
# Within a hundred steps it is past the table of pairs, and it continues to improve. What the last letter tells is only
# a part of what can be known.

# %%
# It writes
# ---------
#
# Begin with a period, draw a letter by its probability, append it, and ask again, until a period is drawn.
#
# As in :lesson:`the-next-word`, the scores are divided by the temperature before softmax.


def write(count, temperature):
    """Names drawn from the model."""
    letters = np.zeros((count, 1), np.int64)
    for _ in range(LENGTH):
        z = scores(letters)[:, -1].astype(float) / temperature
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        letters = np.concatenate([letters, draw(powers / powers.sum(axis=1, keepdims=True))[:, None]], axis=1)
    return [word for word in as_words(letters[:, 1:]) if word]


for temperature in (0.3, 0.7, 1.0, 1.5):
    written = write(100, temperature)
    known, new = (np.mean([word in part for word in written]) for part in (seen, unseen))
    print(f"T = {temperature}: {', '.join(written[:8])}")
    print(f"         {len(set(written))} different of {len(written)}; {known:.0%} in its list, {new:.0%} held out")

# %%
# At a low temperature it writes what is safest: it repeats itself, and a good part of it stands in its list. Toward 1
# most of the words are in no list, and could be names. At 1.5 they fall apart. And a few are real names that it has
# never read: the held-out ones. It did not copy them. It found them, by knowing how names go.

# %%
# Where it looks
# --------------
#
# The attention weights of the first block's two heads, for one name: each row is a letter, and shows how it divides its
# attention. The period counts as the first letter.

name = ".maria"
attention_seen = []
by_hand(np.array([[LETTERS.index(letter) for letter in name]]), attention_seen)
heads = [(f"head {i + 1}", attention_seen[0][0, i]) for i in range(2)]
axes_names = {"rows": ("letter", list(name)), "columns": ("looks at", list(name))}
show(grids.number_grids(heads, "The first block reads .maria", **axes_names))
last = {f"head {i + 1}": attention_seen[0][0, i, -1] for i in range(2)}
for head, weights in last.items():
    favorite = weights.argmax()
    print(f"{head}: the last letter looks most at letter {favorite + 1} of 6, with {weights[favorite]:.0%}")

# %%
# Every row adds up to 1, and nothing stands above the diagonal. The heads look at different letters. It is tempting to
# read a meaning into each, and for some heads of large models one has been found. But what a letter does with what it
# gathers is decided in the layers after it, so a weight is not an explanation by itself.

# %%
# Does it need the positions?
# ---------------------------
#
# We take the table of positions away from the trained model and measure again.
#
# (That is harder than to train without them from the start: it has learned to rely on them.)

positions = model.position_embedding.weight
kept = positions.detach().numpy().copy()
with chainrule.no_grad():
    positions[...] = 0.0
print(f"without positions: loss {loss_of(exam_x, exam_y):.4f}, with them {learned:.4f}")
with chainrule.no_grad():
    positions[...] = chainrule.from_numpy(kept)
print("restored:", np.isclose(loss_of(exam_x, exam_y), learned))

# %%
# What it cannot do
# -----------------
#
# It cannot tell whether a name is real, and it does not know that names belong to people. It knows which letters follow
# which.
#
# It looks back only so far: 12 letters here, a hundred thousand words and more in large models. It has only read what
# was on its list. So names that were rare in the USA in 1990 look unlikely to it, and what is unlikely to a model is
# easily taken for wrong. Let it judge some:

for word in ("maria", "anna", "xqzvk", "yuki", "oluwaseun"):
    letters, following = encode([word])
    value = loss_of(letters, following)
    print(f"{word:<10} loss per letter {value:.2f}{'   (it has read this)' if word in seen else ''}")

# %%
# A large language model is this, with more of everything: words and pieces of words instead of letters, 96 blocks
# instead of two, 96 heads in each, 12,288 numbers per word instead of 32. That is GPT-3, with 175 billion weights; it
# was trained on 300 billion words and pieces of words. (Half of its layers look at some earlier words only, to save
# time; otherwise its forward pass is the one above.) Models that one can talk to are then trained further, on
# conversations and on people's ratings of answers. The slopes come by the chain rule all the same.

# %%
# Change one thing
# ----------------
#
# Before you run this: a new GPT with one block may see only the last letter. How close will it come to the table of
# pairs, and on which side of it?
#
# Then let it see 2 or 3 letters. Where names begin, periods stand in front.

context = 1  # change me


def windows(letters, following):
    """The last `context` letters before each letter, (M, context), and that letter, (M,)."""
    padded = np.pad(letters, ((0, 0), (context - 1, 0)))  # 0 is the period
    all_windows = np.lib.stride_tricks.sliding_window_view(padded, context, axis=1)  # (N, LENGTH, context)
    return np.ascontiguousarray(all_windows[following >= 0]), following[following >= 0]


window_x, window_y = windows(x, y)
short = GPT(GPTConfig(27, context, layers=1, heads=2, width=32), generator=np.random.default_rng(0))
optimizer = optim.AdamW(short.parameters(), lr=0.01, weight_decay=0.01)
for _ in range(200):
    chosen = random.integers(0, len(window_y), 500)
    loss = cross_entropy(short(chainrule.from_numpy(window_x[chosen]))[:, -1], chainrule.from_numpy(window_y[chosen]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
window_x, window_y = windows(exam_x, exam_y)
with chainrule.no_grad():
    short_loss = cross_entropy(short(chainrule.from_numpy(window_x))[:, -1], chainrule.from_numpy(window_y)).item()
print(f"letters seen: {context}; loss {short_loss:.4f}, the table of pairs {bigram:.4f}, all letters {learned:.4f}")

# %%
# With one letter it comes close to the table and cannot pass it by more than luck: the counts are the best that one
# letter can tell. A network of any size is only as good as what it is allowed to see. That is why the longer look back
# of attention was worth so much.

# %%
# Read next
# ---------
#
# This was the last lesson: from y = m x + c to a machine that writes, with nothing in between but sums, slopes and the
# chain rule.
#
# The model is ``chainrule.models.GPT``, its blocks are in ``chainrule.models.transformer``. ``chainrule train --model
# gpt --size names --data names`` trains a larger one, and ``chainrule generate`` writes with it. The order of the parts
# is that of Radford and others, Language models are unsupervised multitask learners (2019). And if you want to read the
# engine itself, start with ``chainrule.autograd.tape``.
