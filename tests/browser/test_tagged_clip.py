"""A clip that carries its record plays in Chromium as it did before, and FFmpeg reads record and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.provenance.clips import make_clip, media_data, metadata_of
from tests.unit.provenance.test_record import make_record
from wiro_nb.provenance.embed import embed_record

pytestmark = pytest.mark.browser

PLAY = """async (video) => {
  video.muted = true;
  const ended = new Promise((done, fail) => {
    video.onended = done;
    video.onerror = () => fail(video.error.message);
  });
  await video.play();
  await ended;
  return {seconds: video.duration, width: video.videoWidth, at: video.currentTime};
}"""


@pytest.mark.parametrize("flags", ["", "+faststart", "+faststart+use_metadata_tags", "frag_keyframe+empty_moov"])
def test_a_clip_with_its_record_plays_to_its_end(chromium: Any, tmp_path: Path, flags: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", flags=flags, frames=12)
    before = media_data(clip)
    record = make_record(parameters={"prompt": "</script><b>été 🦊" * 40})
    assert embed_record(clip, record).problem == ""
    assert media_data(clip) == before
    if "frag" not in flags:
        assert json.loads(metadata_of(clip)["comment"])["wiro_nb"]["run_id"] == record["run_id"]
    (tmp_path / "page.html").write_text('<video src="clip.mp4" preload="auto"></video>')
    page = chromium.new_page()
    try:
        page.goto((tmp_path / "page.html").as_uri())
        played = page.eval_on_selector("video", PLAY)
    finally:
        page.close()
    assert played["width"] == 64
    assert played["seconds"] == pytest.approx(0.75, abs=0.1)
    assert played["at"] == pytest.approx(played["seconds"], abs=0.1)
