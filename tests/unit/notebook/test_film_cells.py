"""What is typed in a film's cell becomes shots; what cannot be read is one line; the cell can be written again."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.error import UsageError
from PIL import Image

from wiro_nb.films.extend import read_shots
from wiro_nb.films.film_file import COPIED, FilmTarget, JoinedFilm
from wiro_nb.formatting import DONE
from wiro_nb.ledger.state import RunOutput
from wiro_nb.notebook.film.rendering import ShotTile, film_output, strip_poster
from wiro_nb.notebook.film.view import film_text
from wiro_nb.notebook.magic.cells import split_shots
from wiro_nb.notebook.magic.handlers import read_shot

BODY = """
--- opening seed=7
a storm
--- with dashes

--- waves from=opening#3 Wan-AI/x "my name"="b c" style=slow style="calm, warm"
waves
  and more
--- pruna/vace
"""


def shots_of(body: str) -> Any:
    return [read_shot(head, prompt) for head, prompt in split_shots(body)]


def test_a_body_is_read_as_shots_and_written_again() -> None:
    given = shots_of(BODY.replace("--- with dashes", "-- with dashes"))
    assert given[0]["inputs"] == {"seed": "7", "prompt": "a storm\n-- with dashes"}
    assert given[1] == {
        "name": "waves",
        "model": "Wan-AI/x",
        "from": "opening#3",
        "inputs": {"my name": "b c", "style": ["slow", "calm, warm"], "prompt": "waves\n  and more"},
    }
    assert (given[2]["name"], given[2]["model"]) == ("", "pruna/vace")
    shots = read_shots(given, model="pruna/vace")
    target = FilmTarget(Path("my film.mp4"), Path(), 0.5, Path("a.mp3"))
    film: Any = SimpleNamespace(shots=shots, plan=SimpleNamespace(target=target))
    line, _, body = film_text(film).partition("\n")
    assert line == '%%wiro_film --out "my film.mp4" --crossfade 0.5 --audio a.mp3'
    assert read_shots(shots_of(body)) == shots


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a storm\n--- opening", "a shot begins with a line such as"),
        ("--- a prompt=x\ny", "given as a setting and again"),
        ("--- a b/c d e", "does not understand 'd'"),
        ("--- a --wait", "has no option --wait"),
        ('--- a "open', "a quote is not closed"),
    ],
)
def test_a_body_that_cannot_be_read_is_one_line(body: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        shots_of(body)


def test_twelve_shots_stay_below_60_kb_and_hostile_text_is_text(tmp_path: Path) -> None:
    noisy = io.BytesIO()
    Image.effect_noise((416, 240), 90).convert("RGB").save(noisy, "JPEG", quality=60)
    thumb = strip_poster(noisy.getvalue())
    prompt = "<script>x</script> $1 " + "word " * 400
    tiles = [
        ShotTile(f"shot-{number}", DONE, "Done", prompt, "run abcde, $0.04", "out/a b.mp4", number, thumb)
        for number in range(12)
    ]
    film = RunOutput("film.mp4", "video/mp4", 9_000_000, path="film.mp4", width=832, height=480)
    path = tmp_path / "film.mp4"
    path.write_bytes(noisy.getvalue())  # for the player's picture
    record = {"film": {"method": COPIED, "notes": [], "parts": []}}
    found = film_output("Film", "film.mp4", tiles, status=DONE, joined=JoinedFilm(path, record, film))
    assert "poster=" in found.html
    assert found.metadata["wiro"] == record
    assert sum(map(len, found.data.values())) < 60_000
    html = found.html
    assert html.count("film.mp4#t=") == 12
    assert 'href="film.mp4#t=11"' in html
    assert "<script>" not in html
    assert "class=" not in html
