"""Train the small language model that chainrule includes, whose tokens are whole words, in seconds.

    make words

or `python scripts/make_words.py [FOLDER]`. The model is a GPT of the size tiny, trained on the sentences of `everyday`.
It keeps the weights of the last epoch, not those with the lowest validation loss: it is to show how words depend on
each other, and with so few sentences, a model that looks at more than the last word has memorized them. The same
machine with the same NumPy gives bitwise identical weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from chainrule import safetensors_io, text
from chainrule.errors import UserError
from chainrule.files import write_text
from chainrule.training import experiment
from chainrule.training import run as runs
from chainrule.training.text_task import TEXT, mean_loss, perplexity

CREATED = "2026-11-30T12:00:00+00:00"
MOST = 300_000  # bytes


def main(target: Path) -> None:
    """Train, write the run, and print its losses and its size."""
    data = text.load("everyday", words=True)
    config = experiment.configure(
        "gpt", data, options={"size": "tiny", "block_size": 16, "dropout": 0.2}, epochs=6, batch_size=32, lr=0.003
    )
    with tempfile.TemporaryDirectory() as folder:
        run = runs.create(
            config | {"created": CREATED}, Path(folder) / "run", lambda path: TEXT.write_files(data, path)
        )
        trainer = experiment.prepare(run, data)
        trainer.fit(config["training"]["epochs"])
        network = trainer.network.eval()
        safetensors_io.save(network.state_dict(), run.weights_file)
        size = run.weights_file.stat().st_size
        if size > MOST:
            sys.exit(f"{size:,} bytes are more than the {MOST:,} allowed")
        target.mkdir(exist_ok=True)
        for file in (run.config_file, run.weights_file, run.folder / "tokenizer.json"):
            (target / file.name).write_bytes(file.read_bytes())
    train_loss, loss = (mean_loss(network, run.model, part) for part in (data.train, data.validation))
    result = {"validation_loss": loss, "perplexity": perplexity(loss), "seconds": 0.0}
    write_text(target / "result.json", json.dumps(result) + "\n")
    print(
        f"{target}: {size:,} bytes; perplexity {perplexity(train_loss):.1f} (loss {train_loss:.4f}) on the training "
        f"sentences, {perplexity(loss):.1f} (loss {loss:.4f}) on the validation sentences"
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else runs.SHIPPED_WORDS)
    except UserError as error:
        sys.exit(str(error))
