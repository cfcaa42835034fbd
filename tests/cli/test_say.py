"""`say`: the article's sentence, completed by the model that it ends with."""

from __future__ import annotations

import json

import pytest

from chainrule.first_principles import language


@pytest.fixture(scope="module")
def model():
    return language.train_model()


@pytest.fixture(autouse=True)
def once(model, monkeypatch):
    """The model is trained once for all tests; `train_model` gives the same weights each time."""
    monkeypatch.setattr(language, "train_model", lambda: model)


def test_it_completes_the_sentence_of_the_article(command, model):
    done = command("say", "i am going to the bank to")
    assert (done.code, done.err) == (0, "")
    sentence, empty, heading, *bars = done.out.splitlines()
    assert sentence == f"{model.complete('i am going to the bank to')}."
    assert sentence.startswith("i am going to the bank to ")
    assert (empty, heading) == ("", "after 'to', the model expects")
    likeliest = model.likeliest("i am going to the bank to")
    assert [bar.split()[0] for bar in bars] == [word for word, _ in likeliest]
    assert [bar.split()[-1] for bar in bars] == [f"{p:.1%}" for _, p in likeliest]
    assert bars[0].split()[0] in ("deposit", "withdraw", "open")  # what one does at a bank


def test_words_need_no_quotes(command):
    assert command("say", "I", "am", "going,").out == command("say", "i am going").out


def test_greedy_takes_the_likeliest_word_each_time(model):
    """Against the definition: no other word is likelier after what is there so far."""
    words = model.complete("she went to the").split()
    for i in range(4, len(words)):
        assert model.likeliest(" ".join(words[:i]), 1)[0][0] == words[i]
    assert model.likeliest(" ".join(words), 1)[0][0] == language.END
    assert model.complete("she went to the", limit=1) == " ".join(words[:5])


def test_a_temperature_draws(command, model):
    done = command("say", "the children", "--temperature", 0.7, "--seed", 3, "--json")
    document = json.loads(done.out)
    assert document["sentence"] == model.generate("the children", 20, 0.7, 3)
    assert [entry["word"] for entry in document["next"]] == [word for word, _ in model.likeliest("the children")]


def test_without_words_it_makes_sentences_up(command, model):
    lines = command("say").out.splitlines()
    assert lines == [f"{model.generate('', 20, 0.6, seed)}." for seed in range(5)]
    assert json.loads(command("say", "--json", "--seed", 1).out)["sentences"][:4] == [line[:-1] for line in lines[1:]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("i fly to mars",), "the model's vocabulary of 493 words does not contain mars"),
        (("123 !",), "the text contains no words; give the beginning of an English sentence"),
        (("i", "--temperature", -0.5), "the temperature must be at least 0, not -0.5; 0 takes the likeliest word"),
        (("i", "--temperature", "nan"), "the temperature must be at least 0, not nan"),
        (("i", "--seed", -1), "the seed must be at least 0, not -1"),
    ],
)
def test_what_it_cannot_complete_is_refused(command, arguments, message, model):
    done = command("say", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message.replace("493", str(len(model.words) - 1)) in done.err
    assert done.err.count("\n") == 1


def test_the_whole_command_takes_seconds(process):
    """Without the fixture: training included."""
    done = process("say", "my mother went to the bakery to buy some")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("my mother went to the bakery to buy some bread")
